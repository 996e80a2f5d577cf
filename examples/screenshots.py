"""The pictures of the README, from a real browser, and a backfill started in it that must change nothing.

``make screenshots``, with the services up after ``make run``. Needs Debian's Chromium. Logs in as a person does, starts
a backfill of two nights from the Trigger dialog, waits for all that follows, and compares the content of every
published table before and after. Exit code 1 where anything changed.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
from playwright.sync_api import Browser, HttpCredentials, Page, ViewportSize, sync_playwright

from examples.__main__ import DAGS, HEAD, TRAIN
from include.core.partitions import Partitions
from include.core.settings import MLFLOW_USER, Settings, settings
from include.ml import mlflow_api
from include.orchestration.airflow_client import Airflow, Run
from include.serving import throughput

CHROMIUM = Path("/usr/bin/chromium")
PICTURES = Path(__file__).resolve().parents[1] / "docs" / "img"
SIZE: ViewportSize = {"width": 1440, "height": 900}
NIGHTS = Partitions(date(2013, 6, 3), date(2013, 6, 4))
MODEL, MONITOR = "flight_delays", "flight_delays_monitor"
REPROCESS = "lakehouse_reprocess_flights"
# The stages of a night; a retraining is not one of them.
PATH = sorted(DAGS - {TRAIN})


Tables = dict[str, tuple[int, int]]


def content(here: Settings) -> Tables:
    """Rows of every published table, and a hash of them that no order of rows or columns changes.

    All but what each scoring took, which no two of them have alike.
    """
    found = {}
    for log in sorted(here.lake.glob("*/*/_delta_log")):
        layer, table = log.parts[-3:-1]
        if layer != "candidate" and f"{layer}.{table}" != throughput.LEDGER:
            rows = pl.read_delta(str(log.parent))
            found[f"{layer}.{table}"] = (rows.height, int(rows.select(sorted(rows.columns)).hash_rows(7).sum()))
    return found


def settle(page: Page) -> None:
    """Wait until the page shows what it was asked for."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)


def appear(page: Page, text: str) -> None:
    """The same where a page never stops asking its server."""
    page.get_by_text(text).first.wait_for(timeout=60_000)
    page.wait_for_timeout(2000)


def shoot(page: Page, name: str, height: int = SIZE["height"]) -> None:
    path = PICTURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": SIZE["width"], "height": height})
    print(f"  {path.relative_to(PICTURES.parent.parent)}  {path.stat().st_size // 1000} kB")


def log_in(page: Page, here: Settings) -> None:
    page.goto(here.airflow_url)
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(here.secret("airflow_admin_password"))
    page.locator("button[type=submit]").click()
    page.wait_for_url(lambda url: "/login" not in url)


def open_grid(page: Page, here: Settings) -> None:
    """The head's grid; the page remembers the graph that another DAG was looked at in."""
    page.goto(f"{here.airflow_url}/dags/{HEAD}")
    page.get_by_role("button", name="Show Grid").click()
    settle(page)


def fill_backfill(page: Page, nights: Partitions) -> None:
    """The Trigger dialog of the head, filled in as far as the last button."""
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog").first
    dialog.get_by_text("Backfill", exact=True).first.click()
    for day in (nights.first, nights.last):
        # The field shows its date from then on, so that the next one without is the first.
        dialog.get_by_text("Select date and time").first.click()
        field = page.get_by_placeholder("YYYY/MM/DD")
        field.fill(f"{day:%Y/%m/%d}")
        field.press("Enter")
        page.keyboard.press("Escape")
        field.wait_for(state="hidden")
    dialog.get_by_text("All Runs", exact=True).click()
    dialog.get_by_text("2 runs will be triggered").wait_for()
    page.wait_for_timeout(500)


def airflow_pages(page: Page, here: Settings, airflow: Airflow) -> None:
    page.goto(f"{here.airflow_url}/dags")
    page.get_by_label("Show table view").click()
    settle(page)
    shoot(page, "airflow-dags")

    asked = [run for run in airflow.runs(MONITOR) if run.state == "success" and any_green(airflow, run, "request")]
    monitor = (asked or airflow.runs(MONITOR))[0]
    page.goto(f"{here.airflow_url}/dags/{MONITOR}/runs/{monitor.run_id}")
    page.get_by_role("button", name="Show Graph").click()
    settle(page)
    shoot(page, "airflow-monitor")

    assets = airflow.call("GET", "/assets", params={"limit": 1000})["assets"]
    number = next(one["id"] for one in assets if one["name"] == f"gold.{MODEL}.predictions")
    # A chain of twelve is readable only from top to bottom; the browser remembers that for each asset.
    page.evaluate(f"localStorage.setItem('direction-{number}', '\"DOWN\"')")
    page.goto(f"{here.airflow_url}/assets/{number}")
    settle(page)
    shoot(page, "airflow-asset")


def any_green(airflow: Airflow, run: Run, prefix: str) -> bool:
    return any(one["task_id"].startswith(prefix) and one["state"] == "success" for one in airflow.tasks(run))


def follow(airflow: Airflow, since: str, patience: float = 900) -> list[Run]:
    """Wait until each night has gone all the way again. Returns the runs, raises RuntimeError where one failed."""
    wanted = {(dag_id, str(day)) for dag_id in PATH for day in NIGHTS.days}
    deadline = time.monotonic() + patience
    while True:
        runs = {(run.dag_id, run.partition_key): run for run in airflow.runs() if run.queued_at > since}
        if failed := [run for run in runs.values() if run.state == "failed"]:
            raise RuntimeError(airflow.explain(failed[0]))
        done = [run for key, run in runs.items() if key in wanted and run.state == "success"]
        if len(done) == len(wanted):
            return done
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {patience:.0f} s {len(done)} of {len(wanted)} runs are through")
        time.sleep(3)


def backfill(page: Page, here: Settings, airflow: Airflow) -> list[str]:
    """Start the backfill in the dialog, wait for everything that follows. Returns what changed in the lake."""
    before = content(here)
    open_grid(page, here)
    fill_backfill(page, NIGHTS)
    shoot(page, "airflow-backfill")
    since = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    page.get_by_role("dialog").get_by_role("button", name="Run Backfill").click()
    for run in follow(airflow, since):
        print(f"  {airflow.tell(run)}")
    open_grid(page, here)
    shoot(page, "airflow-grid")
    after = content(here)
    for name, (rows, digest) in after.items():
        print(f"  {name:<36} {rows:>9} rows  {digest:020d}  {'CHANGED' if before.get(name) != after[name] else 'same'}")
    return difference(before, after)


def difference(before: Tables, after: Tables) -> list[str]:
    """Which tables are otherwise than before, in words. A table that was not there and is empty is nothing new."""
    return [
        f"{name}: {before.get(name)} before, {after.get(name)} after"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) and (name in before or after[name][0])
    ]


def lineage_pages(page: Page, here: Settings) -> None:
    """The way back from a prediction, and dbt's graph of what leads to the features."""
    scored = pl.read_delta(str(here.lake / "gold" / f"{MODEL}__predictions"))
    newest = scored.filter(pl.col("flight_date") == pl.col("flight_date").max())
    page.goto(f"{here.airflow_url}/nocturne/lineage")
    page.get_by_label("flight_id").fill(str(newest["flight_id"].min()))
    page.get_by_role("button", name="Trace").click()
    page.get_by_text("6 · Landing files").wait_for(timeout=60_000)
    page.wait_for_timeout(500)
    shoot(page, "lineage")

    page.goto(f"{here.airflow_url}/plugin/dbt-docs")
    frame = page.frame_locator("iframe")
    frame.get_by_title("View Lineage Graph").click()
    frame.locator("canvas").first.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    shoot(page, "dbt-docs")


def health_pages(page: Page, here: Settings) -> None:
    """Every use case in a line, and the demonstration's own."""
    page.goto(f"{here.airflow_url}/nocturne/health")
    page.get_by_role("heading", name="Model health").wait_for(timeout=60_000)
    shoot(page, "health-overview", height=420)
    page.goto(f"{here.airflow_url}/nocturne/health/{MODEL}")
    page.locator("#quadrants svg").wait_for(timeout=60_000)
    shoot(page, "health")


def card_page(page: Page, here: Settings) -> None:
    """The champion's card, at its metrics."""
    page.goto(f"{here.airflow_url}/nocturne/card?case={MODEL}")
    page.get_by_role("heading", name="How good it is").wait_for(timeout=60_000)
    page.evaluate("document.querySelector('svg').closest('.plots').previousElementSibling.scrollIntoView()")
    shoot(page, "card")


def quarantine_pages(page: Page, here: Settings, airflow: Airflow) -> list[str]:
    """Two nights with broken rows: shown, mended, asked for, approved. Returns what is otherwise afterwards."""
    files = [here.landing / "flights" / "actuals" / f"{day}.csv" for day in NIGHTS.days]
    whole, written = [file.read_text() for file in files], [file.stat() for file in files]
    before = content(here)
    for number, (file, text) in enumerate(zip(files, whole, strict=True), start=1):
        file.write_text(with_broken_rows(text, number))
    airflow.follow([airflow.trigger(HEAD, Partitions(day, day)) for day in NIGHTS.days])
    address = f"{here.airflow_url}/nocturne/quarantine?from={NIGHTS.first}&to={NIGHTS.last}"
    page.goto(address)
    page.locator("details").nth(1).locator("summary").click()
    settle(page)
    shoot(page, "quarantine")

    for file, text, was in zip(files, whole, written, strict=True):
        file.write_text(text)
        os.utime(str(file), ns=(was.st_atime_ns, was.st_mtime_ns))  # which is when its rows arrived
    page.get_by_role("button", name="What would become of these rows?").click()
    page.wait_for_url(lambda url: f"/dags/{REPROCESS}/runs/" in url)
    run = airflow.newest_runs(REPROCESS)[0]
    while {one["task_id"]: one["state"] for one in airflow.tasks(run)}.get("approve") != "awaiting_input":
        time.sleep(1)
    page.goto(f"{here.airflow_url}/dags/{REPROCESS}/runs/{run.run_id}/tasks/approve/required_actions")
    appear(page, "if ingested now")
    shoot(page, "reprocess-approval")
    heads = {one.run_id for one in airflow.newest_runs(HEAD)}
    page.get_by_role("button", name="Approve").click()
    airflow.follow([run])
    airflow.follow([one for one in airflow.newest_runs(HEAD) if one.run_id not in heads])
    page.goto(address)
    settle(page)
    shoot(page, "quarantine-reprocessed", height=240)
    # The ledger of publications has the revisions of both ways.
    return [line for line in difference(before, content(here)) if not line.startswith("ledger.")]


def with_broken_rows(text: str, number: int) -> str:
    """A file of ``actuals`` in which some rows break their contract, in three ways; a few more with ``number``."""
    lines = text.splitlines()
    for place in range(7, 7 + 40 * number, 8):
        values = lines[place].split(",")
        if place % 3 == 0:
            values[7] = "5:18"
        elif place % 3 == 1:
            values[9] = "2574"
        else:
            values = values[:-1]
        lines[place] = ",".join(values)
    return "\n".join([*lines, ""])


def mlflow_pages(browser: Browser, here: Settings) -> None:
    champion = mlflow_api.get("registered-models/alias", here, name=MODEL, alias="champion")
    version = champion["model_version"]
    run = mlflow_api.get("runs/get", here, run_id=version["run_id"])["run"]
    login: HttpCredentials = {"username": MLFLOW_USER, "password": here.secret("mlflow_admin_password")}
    context = browser.new_context(viewport=SIZE, http_credentials=login, color_scheme="light")
    # MLflow's chat opens by itself at a first visit and hides a quarter of the page.
    context.add_init_script(
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');"
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')"
    )
    page = context.new_page()
    page.goto(f"{here.mlflow_url}/#/models/{MODEL}")
    appear(page, "champion")
    page.get_by_text("Model training", exact=True).first.click()
    page.goto(f"{here.mlflow_url}/#/models/{MODEL}")
    appear(page, "champion")
    shoot(page, "mlflow-model")
    page.goto(f"{here.mlflow_url}/#/experiments/{run['info']['experiment_id']}/runs/{version['run_id']}")
    appear(page, "calibration_error")
    page.get_by_text("calibration_error", exact=True).first.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)
    shoot(page, "mlflow-run")


def main() -> int:
    """Exit code 0 where the pictures are taken and the backfill changed nothing."""
    here = settings()
    if not CHROMIUM.exists():
        print(f"screenshots: {CHROMIUM} is missing: apt-get install chromium", file=sys.stderr)
        return 2
    airflow = Airflow(here)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport=SIZE, color_scheme="light").new_page()
        log_in(page, here)
        airflow_pages(page, here, airflow)
        changed = backfill(page, here, airflow)
        lineage_pages(page, here)
        health_pages(page, here)
        card_page(page, here)
        changed += quarantine_pages(page, here, airflow)
        mlflow_pages(browser, here)
        browser.close()
    for line in changed:
        print(line, file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
