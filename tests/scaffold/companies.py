"""Made-up companies whose days have something to learn: unlike files, unlike questions, one seed each.

What a model can find is known, since it was put in. Each function writes one file a day, or a month, into a folder, as
an upstream would, and nothing else.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

FIRST = date(2024, 1, 1)


def days(n: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(number) for number in range(n)]


def rides(folder: Path, n: int, changed_from: int | None = None) -> None:
    """Rides of 120 stations by quarter of a day, as CSV with semicolons and a decimal comma.

    A station has its level and a weekday its share of it, which the mean of the week before does not know. From day
    ``changed_from`` on there are twice as many.
    """
    chance, stations, quarters = np.random.default_rng(1), 120, 4
    level = np.exp(chance.normal(3.0, 0.6, stations))
    weekday = np.array([1.0, 1.05, 1.1, 1.05, 1.25, 0.6, 0.45])
    for number, day in enumerate(days(n)):
        factor = weekday[day.weekday()] * np.exp(chance.normal(0, 0.08))
        factor *= 2 if changed_from is not None and number >= changed_from else 1
        counts = chance.poisson(np.repeat(level * factor / quarters, quarters))
        temp = chance.normal(12, 4, len(counts))
        frame = pl.DataFrame(
            {
                "station": [f"S{station:03}" for station in range(stations) for _ in range(quarters)],
                "quarter": list(range(quarters)) * stations,
                "ridden_on": [f"{day:%d.%m.%Y}"] * len(counts),
                "temp_c": [f"{value:.1f}".replace(".", ",") for value in temp],
                "rides": counts,
            }
        )
        frame.write_csv(folder / f"rides-{day}.csv", separator=";")


def payments(folder: Path, n: int) -> None:
    """Card payments as packed JSON lines, of which few are fraud: about 2 % of the days of a card have one.

    A card that is taken over pays more, and abroad, for some days, and each fourth of its payments is fraud.
    """
    chance, cards = np.random.default_rng(2), 300
    until, number = np.full(cards, -1), 0
    for at, day in enumerate(days(n)):
        begins = chance.random(cards) < 0.004
        until = np.where(begins, at + chance.integers(5, 12, cards), until)
        of = np.repeat(np.arange(cards), chance.poisson(2.5, cards))
        taken = until[of] >= at
        frame = pl.DataFrame(
            {
                "payment_id": [f"P{number + one:07}" for one in range(len(of))],
                "card": [f"C{one:04}" for one in of],
                "booked_on": [str(day)] * len(of),
                "amount_eur": np.round(np.exp(chance.normal(3.2 + 0.9 * taken, 0.7)), 2),
                "is_abroad": chance.random(len(of)) < np.where(taken, 0.6, 0.08),
                "is_fraud": taken & (chance.random(len(of)) < 0.25),
            }
        )
        number += len(of)
        lines = frame.write_ndjson().encode()
        (folder / f"payments-{day}.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))


def purchases(folder: Path, n: int) -> None:
    """Purchases as Parquet. A customer has habits: which channel comes first is known after weeks."""
    chance, customers, channels = np.random.default_rng(3), 150, np.array(["counter", "phone", "web"])
    habits = chance.dirichlet([0.5, 0.5, 0.5], customers)
    rate, number = chance.gamma(2.0, 0.04, customers), 0
    for day in days(n):
        of = np.repeat(np.arange(customers), chance.poisson(rate))
        picked = [chance.choice(3, p=habits[one]) for one in of]
        frame = pl.DataFrame(
            {
                "purchase_id": [100_000 + number + one for one in range(len(of))],
                "customer": [f"K{one:04}" for one in of],
                "purchased_on": [day] * len(of),
                "channel": channels[picked],
                "total_eur": np.round(np.exp(chance.normal(3, 0.5, len(of))), 2),
            },
            schema_overrides={"purchased_on": pl.Date},
        )
        number += len(of)
        frame.write_parquet(folder / f"purchases-{day}.parquet")


def orders(folder: Path, n: int) -> None:
    """Orders of a shop as packed JSON lines. Each of 60 customers has a habit of ordering."""
    chance, customers = np.random.default_rng(5), 60
    habit, number = chance.beta(1, 3, customers) / 2, 0
    for day in days(n):
        of = np.flatnonzero(chance.random(customers) < habit)
        frame = pl.DataFrame(
            {
                "order_id": [1000 + number + one for one in range(len(of))],
                "customer": [f"c{one:02}" for one in of],
                "ordered_on": [str(day)] * len(of),
                "channel": chance.choice(["web", "shop", "phone"], len(of)),
                "total": np.round(chance.uniform(5, 300, len(of)), 2),
            }
        )
        number += len(of)
        (folder / f"orders-{day}.jsonl.gz").write_bytes(gzip.compress(frame.write_ndjson().encode(), mtime=0))


Subscribers = dict[str, tuple[str, str, float, date]]
"""Plan, status, fee and day of entry by customer."""


def subscribers(n: int) -> Iterator[tuple[date, Subscribers]]:
    """The subscribers of a service at the end of each day. Who has paused, or has the cheapest plan, leaves sooner.

    One who has left is in the table for 20 more days.
    """
    chance, plans = np.random.default_rng(6), ("basic", "plus", "pro")
    fee, leaves = {"basic": 5.0, "plus": 9.5, "pro": 24.0}, {"basic": 0.012, "plus": 0.004, "pro": 0.001}
    there, left, number = Subscribers(), dict[str, date](), 0
    for day in days(n):
        for _ in range(160 if not there else int(chance.poisson(1.0))):
            plan = str(chance.choice(plans))
            there[f"U{number:04}"] = (plan, "active", fee[plan], day - timedelta(int(chance.integers(0, 400))))
            number += 1
        for who, (plan, status, price, since) in list(there.items()):
            if status == "left":
                if day - left[who] > timedelta(20):
                    del there[who]
            elif chance.random() < leaves[plan] * (6 if status == "paused" else 1):
                there[who], left[who] = (plan, "left", price, since), day
            elif chance.random() < 0.01:
                there[who] = (plan, "active" if status == "paused" else "paused", price, since)
        yield day, dict(there)


def agent(who: str) -> str:
    """Who looks after a subscriber: one of 60, too many to list."""
    return f"A{int(who[1:]) % 60:02}"


def customers(folder: Path, n: int) -> None:
    """The whole table of subscribers as CSV, each day; no row says of which day it is."""
    for day, there in subscribers(n):
        lines = [
            f"{who},{plan},{status},{fee},{since},{agent(who)}" for who, (plan, status, fee, since) in there.items()
        ]
        header = "customer,plan,status,fee_eur,since,agent"
        (folder / f"customers-{day}.csv").write_text("\n".join([header, *lines, ""]))


def changes(folder: Path, n: int) -> None:
    """What changed in the table of subscribers as JSON lines, each day; of one that is gone only its key is said."""
    before, number = Subscribers(), 0
    for day, there in subscribers(n):
        rows = []
        for who in sorted(before.keys() | there.keys()):
            if (now := there.get(who)) == before.get(who):
                continue
            number += 1
            plan, status, fee, since = now or (None,) * 4
            op = "delete" if now is None else "update" if who in before else "insert"
            row = {"op": op, "seq": number, "customer": who, "plan": plan, "status": status, "fee_eur": fee}
            row |= {"since": since and str(since), "agent": now and agent(who), "changed_at": f"{day}T12:00:00Z"}
            rows.append(json.dumps(row))
        (folder / f"changes-{day}.jsonl").write_text("\n".join([*rows, ""]) or "\n")
        before = there


def months(n: int, first: date = date(2018, 1, 1)) -> Iterator[date]:
    for number in range(n):
        yield date(first.year + number // 12, number % 12 + 1, 1)


def revenue(folder: Path, n: int) -> None:
    """A file a month: the revenue of 60 branches, which follows the year and each branch's own growth."""
    chance, branches = np.random.default_rng(4), 60
    level, growth = np.exp(chance.normal(11, 0.5, branches)), chance.normal(0.01, 0.004, branches)
    season = 1 + 0.25 * np.sin(np.arange(12) / 12 * 2 * np.pi)
    for number, month in enumerate(months(n)):
        value = level * np.exp(growth * number) * season[month.month - 1] * np.exp(chance.normal(0, 0.03, branches))
        frame = pl.DataFrame(
            {
                "month": [str(month)] * branches,
                "branch": [f"B{one:02}" for one in range(branches)],
                "customers": np.round(value / 40).astype(int),
                "revenue_eur": np.round(value, 2),
            }
        )
        frame.write_csv(folder / f"revenue-{month}.csv")
