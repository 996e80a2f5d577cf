"""The pictures of the README, from a real browser, and a backfill started in it that must change nothing.

``make screenshots``, with the services up after ``make run``. Needs Debian's Chromium. Logs in as a person does, starts
a backfill of two nights from the Trigger dialog, waits for all that follows, and compares the content of every
published table before and after. Exit code 1 where anything changed.
"""

from __future__ import annotations

import sys
import time
from datetime import date
from pathlib import Path

import httpx
import polars as pl
from playwright.sync_api import Browser, Page, sync_playwright

from demo.__main__ import HEAD
from include.airflow_client import Airflow, Run
from include.partitions import Partitions
from include.settings import Settings, settings

CHROMIUM = Path("/usr/bin/chromium")
PICTURES = Path(__file__).resolve().parent / "img"
SIZE = {"width": 1440, "height": 900}
NIGHTS = Partitions(date(2013, 6, 3), date(2013, 6, 4))
MODEL, MONITOR = "flight_delays", "flight_delays_monitor"


def content(here: Settings) -> dict[str, tuple[int, int]]:
    """Rows of every published table, and a hash of them that no order of rows or columns changes."""
    found = {}
    for log in sorted(here.lake.glob("*/*/_delta_log")):
        layer, table = log.parts[-3:-1]
        if layer != "candidate":
            rows = pl.read_delta(str(log.parent))
            found[f"{layer}.{table}"] = (rows.height, int(rows.select(sorted(rows.columns)).hash_rows(7).sum()))
    return found


def settle(page: Page) -> None:
    """Wait until the page shows what it was asked for."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1500)


def shoot(page: Page, name: str) -> None:
    path = PICTURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=path)
    print(f"  {path.relative_to(PICTURES.parent.parent)}  {path.stat().st_size // 1000} kB")


def log_in(page: Page, here: Settings) -> None:
    page.goto(here.airflow_url)
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(here.secret("airflow_admin_password"))
    page.locator("button[type=submit]").click()
    page.wait_for_url(lambda url: "/login" not in url)


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


def backfill(page: Page, here: Settings, airflow: Airflow) -> list[str]:
    """Start the backfill in the dialog, wait for everything that follows. Returns what changed in the lake."""
    before, known = content(here), {(run.run_id, run.queued_at) for run in airflow.runs(HEAD)}
    page.goto(f"{here.airflow_url}/dags/{HEAD}")
    settle(page)
    fill_backfill(page, NIGHTS)
    shoot(page, "airflow-backfill")
    page.get_by_role("dialog").get_by_role("button", name="Run Backfill").click()
    wanted, deadline = {str(day) for day in NIGHTS.days}, time.monotonic() + 120
    while True:
        heads = [
            run
            for run in airflow.runs(HEAD)
            if run.partition_key in wanted and (run.run_id, run.queued_at) not in known
        ]
        if len(heads) == len(wanted):
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"the backfill from the browser started {len(heads)} of {len(wanted)} runs")
        time.sleep(0.5)
    runs = airflow.follow(heads, lambda line: print(f"  {line}"))
    page.goto(f"{here.airflow_url}/dags/{HEAD}")
    settle(page)
    shoot(page, "airflow-grid")
    after = content(here)
    changed = [
        f"{name}: {before.get(name)} before, {after.get(name)} after"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    print(f"  {len(runs)} runs; {len(after)} tables, {len(changed)} of them changed")
    return changed


def mlflow_pages(browser: Browser, here: Settings) -> None:
    auth = ("admin", here.secret("mlflow_admin_password"))
    api = f"{here.mlflow_url}/api/2.0/mlflow"
    version = httpx.get(
        f"{api}/registered-models/alias", params={"name": MODEL, "alias": "champion"}, auth=auth, timeout=30
    ).json()["model_version"]
    run = httpx.get(f"{api}/runs/get", params={"run_id": version["run_id"]}, auth=auth, timeout=30).json()["run"]
    context = browser.new_context(
        viewport=SIZE, http_credentials={"username": auth[0], "password": auth[1]}, color_scheme="light"
    )
    page = context.new_page()
    page.goto(f"{here.mlflow_url}/#/models/{MODEL}")
    settle(page)
    shoot(page, "mlflow-model")
    page.goto(f"{here.mlflow_url}/#/experiments/{run['info']['experiment_id']}/runs/{version['run_id']}")
    settle(page)
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
        mlflow_pages(browser, here)
        browser.close()
    for line in changed:
        print(line, file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
