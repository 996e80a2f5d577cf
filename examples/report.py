"""What the demonstration tells at its end: read back from the lake, from MLflow and from Airflow, not remembered."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from include.core.partitions import Partitions
from include.core.settings import Settings
from include.lake import delta
from include.local import control
from include.ml import mlflow_api, policy, record
from include.orchestration.airflow_client import Run
from include.use_cases import use_case

MODEL = "flight_delays"
NIGHT_BEGINS, NIGHT_ENDS = "lakehouse_ingest_flights", "flight_delays_monitor"

Content = dict[str, Any]


def decision(night: date) -> str | None:
    """What the policy decided in ``night``: yes, no, or None where it has not been asked."""
    found = decisions().filter(pl.col("partition_day") == night)
    return None if found.is_empty() else str(found["decision"][0])


def decisions() -> pl.DataFrame:
    return delta.read_all("gold", f"{MODEL}__decisions").sort("partition_day")


def models(settings: Settings) -> list[Content]:
    """Every version of the model with its aliases, metrics, and the day from which it was champion."""
    registered = mlflow_api.get("registered-models/get", settings, name=MODEL)["registered_model"]
    aliases = {one["alias"]: one["version"] for one in registered.get("aliases", [])}
    versions = mlflow_api.get("model-versions/search", settings, filter=f"name='{MODEL}'")["model_versions"]
    ledger = {row["model_version"]: row for row in delta.read_all("gold", f"{MODEL}__deployments").to_dicts()}
    rows = []
    for version in sorted(versions, key=lambda one: int(one["version"])):
        run = mlflow_api.get("runs/get", settings, run_id=version["run_id"])["run"]
        deployed = ledger.get(int(version["version"]))
        rows.append(
            {
                "model": MODEL,
                "version": int(version["version"]),
                "aliases": [alias for alias, number in aliases.items() if number == version["version"]],
                "run_id": version["run_id"],
                "metrics": {one["key"]: one["value"] for one in run["data"].get("metrics", [])},
                "champion_from": str(deployed["effective_from"]) if deployed else None,
                "reason": deployed["reason"] if deployed else judgement(int(version["version"])),
            }
        )
    return rows


def judgement(version: int) -> str:
    """Why a version was refused, or waits."""
    found = record.last_judgement(use_case(MODEL), version)
    return f"{found.verdict}: {'; '.join(found.reasons)}" if found else ""


def partitions(runs: list[Run]) -> list[Content]:
    """One row a night or range: how it went, its seconds from the first task to the last, and of each stage."""
    by_key: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.partition_key:
            by_key[run.partition_key].append(run)
    rows = []
    for key, found in sorted(by_key.items()):
        seconds = {run.dag_id: run.seconds for run in found}
        whole = NIGHT_BEGINS in seconds and NIGHT_ENDS in seconds
        begin = min((run.start for run in found if run.start), default=0.0)
        end = max((run.end for run in found if run.end and run.dag_id == NIGHT_ENDS), default=begin)
        rows.append(
            {
                "partition": key,
                "state": "success" if all(run.state == "success" for run in found) else "failed",
                "seconds": round(end - begin, 1) if whole else None,
                "stages": seconds,
            }
        )
    return rows


def collect(settings: Settings, runs: list[Run], stages: dict[str, float], seconds: float) -> Content:
    """The content of ``run.json``."""
    completeness = delta.read_all("bronze", "flights__completeness").sort("feed", "partition_day")
    # What came of a request says whether it was right: a version that was refused was no better than the champion.
    became = {one.night: one.became for one in policy.asked_for(use_case(MODEL), date.min, date.max, date.max)}
    by_dag: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_dag[run.dag_id].append(run.seconds or 0.0)
    return {
        "partitions": partitions(runs),
        "completeness": json.loads(completeness.write_json()),
        "models": models(settings),
        "decisions": [
            {
                "partition": str(row["partition_day"]),
                "decision": row["decision"],
                "reason": row["reason"],
                "evidence": json.loads(row["evidence"]),
                "became": became.get(row["partition_day"], ""),
            }
            for row in decisions().to_dicts()
        ],
        "seconds": {
            "total": round(seconds, 1),
            "steps": stages,
            "stages": {
                dag: {"runs": len(found), "median": round(median(found), 1), "most": round(max(found), 1)}
                for dag, found in sorted(by_dag.items())
            },
        },
        "memory_mib": {} if settings.airflow_remote else memory(settings),
    }


def memory(settings: Settings) -> dict[str, int]:
    """MiB that each service of this machine takes."""
    return {row.service: round(row.memory / 2**20) for row in control.status(settings)}


def write(settings: Settings, content: Content) -> Path:
    path = settings.report / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=str))
    return path


def problems(settings: Settings, content: Content, nights: Partitions) -> list[str]:
    """What the demonstration promised and did not keep, read from the lake. Empty where it kept everything."""
    found = []
    for day in nights.days:
        scheduled = delta.read_days("silver", "fct_scheduled_flights", day, day, columns=["flight_id"])
        predicted = delta.read_days("gold", f"{MODEL}__predictions", day, day)
        once = predicted["flight_id"].n_unique() == predicted.height and predicted["model_version"].null_count() == 0
        if not once or set(predicted["flight_id"]) != set(scheduled["flight_id"]):
            found.append(f"{day}: {predicted.height} predictions for {scheduled.height} scheduled flights")
    for row in content["completeness"]:
        accounted = row["published"] + row["quarantined"] + row["deduplicated"]
        if row["rows_in"] != accounted:
            found.append(f"{row['feed']} {row['partition_day']}: {row['rows_in']} rows in, {accounted} accounted for")
    if not any("champion" in model["aliases"] for model in content["models"]):
        found.append("no version of the model is champion")
    said = {row["decision"] for row in content["decisions"]}
    found += [f'no decision was "{answer}"' for answer in ("yes", "no") if answer not in said]
    return found


def show(console: Console, settings: Settings, content: Content) -> None:
    """The report as tables a person reads."""
    nights = Table(title="Nights", box=None, header_style="bold", title_justify="left", pad_edge=False)
    for column in (
        "partition",
        "rows in",
        "published",
        "quarantined",
        "duplicates",
        "predicted",
        "seconds",
        "retrain?",
    ):
        text = column in ("partition", "retrain?")
        nights.add_column(column, justify="left" if text else "right", no_wrap=column == "partition", overflow="fold")
    said = {row["partition"]: row["decision"] for row in content["decisions"]}
    for row in content["partitions"]:
        range_ = Partitions.parse(row["partition"])
        rows = [
            one
            for one in content["completeness"]
            if range_.first <= date.fromisoformat(one["ingestion_date"]) <= range_.last
        ]
        ahead = range_.shift(1)
        scored = delta.read_days("gold", f"{MODEL}__predictions", ahead.first, ahead.last, columns=["flight_id"]).height
        terms = (sum(one[term] for one in rows) for term in ("rows_in", "published", "quarantined", "deduplicated"))
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
        nights.add_row(row["partition"], *map(str, terms), str(scored), seconds, said.get(str(range_.last), ""))
    console.print()
    console.print(nights)
    console.print("[dim]seconds from the first task to the last; the nights of a backfill work side by side[/dim]")
    console.print("\n[italic]Retraining?[/italic]")
    for reason, group in groupby(content["decisions"], key=lambda row: (row["decision"], row["reason"])):
        days = [row["partition"] for row in group]
        console.print(f"{days[0]}{f'..{days[-1]}' if len(days) > 1 else ''}  [bold]{reason[0]}[/bold]: {reason[1]}")
        for row in content["decisions"]:
            if row["partition"] in days and row["became"]:
                console.print(f"{row['partition']}  what came of it: {row['became']}")
    versions = Table(title="Model flight_delays", box=None, header_style="bold", title_justify="left", pad_edge=False)
    for column in ("version", "alias", "AUC", "champion from", "because"):
        versions.add_column(column)
    for row in content["models"]:
        auc = next((value for name, value in row["metrics"].items() if name.endswith("auc")), float("nan"))
        alias = ", ".join(row["aliases"])
        versions.add_row(str(row["version"]), alias, f"{auc:.3f}", row["champion_from"] or "never", row["reason"])
    console.print()
    console.print(versions)
    taken = sum(content["memory_mib"].values())
    console.print(
        f"\n  {content['seconds']['total'] / 60:.1f} minutes{f'; the services take {taken} MiB' if taken else ''}"
    )
    if settings.airflow_remote:
        console.print(f"  Airflow  {settings.airflow_page}\n  MLflow   {settings.mlflow_page}")
        return
    console.print(
        f"  Airflow  {settings.airflow_url}  user admin, password: cat {settings.secrets}/airflow_admin_password"
    )
    console.print(
        f"  MLflow   {settings.mlflow_url}  user admin, password: cat {settings.secrets}/mlflow_admin_password"
    )
    console.print("  The services stay up: `make status`, `make down`.")
