"""A repository to scaffold in, and samples of four unlike kinds."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from include.core.settings import HOME

DAY = date(2024, 5, 1)


@pytest.fixture
def root(home: Path) -> Path:
    """An empty repository with the project's rules for code."""
    folder = home / "repository"
    folder.mkdir()
    shutil.copy(HOME / "pyproject.toml", folder)
    return folder


@pytest.fixture
def no_change(root: Path) -> Iterator[None]:
    """Fails a test that leaves anything in the repository."""
    before = sorted(root.rglob("*"))
    yield
    assert sorted(root.rglob("*")) == before


def bikes(folder: Path) -> Path:
    """Hourly counts of some days in one file."""
    chance, lines = random.Random(1), ["station,observed_at,day,temp_c,is_holiday,weather,cnt"]
    for number in range(5):
        on = DAY + timedelta(number)
        for station in ("north", "south"):
            for hour in range(24):
                weather, temp = chance.choice(["clear", "rain", "snow"]), round(chance.gauss(10, 5), 1)
                flag = str(number == 3).lower()
                lines.append(f"{station},{on} {hour:02}:00:00,{on},{temp},{flag},{weather},{chance.randint(0, 90)}")
    return _written(folder / "bikes.csv", "\n".join([*lines, ""]))


def cards(folder: Path) -> Path:
    """Transactions of a day with personal columns, of which hardly any is fraud."""
    chance, lines = random.Random(2), ["transaction_id;card_id;booked_on;amount;email;contact;is_fraud"]
    for number in range(120):
        email, phone = f"somebody{number}@mail.example", f"+49 30 {100000 + number}"
        fraud = "yes" if number == 17 else "no"
        lines.append(f"T{number:05};C{number % 9:03};01.05.2024;{chance.uniform(1, 900):.2f};{email};{phone};{fraud}")
    return _written(folder / "transactions-2024-05-01.csv", "\n".join([*lines, ""]))


def revenue(folder: Path) -> Path:
    """A row a month and region."""
    months = [date(2021 + n // 12, n % 12 + 1, 1) for n in range(24)]
    lines = [f"{month},{region},{1000.5 + n},{n}" for n, month in enumerate(months) for region in ("DE", "FR")]
    return _written(folder / "revenue.csv", "\n".join(["month,region,revenue_eur,customers", *lines, ""]))


def orders(folder: Path) -> Path:
    """Orders of a day as JSON lines, packed. Their customers are too many to list."""
    chance, path = random.Random(3), folder / "orders-2024-05-01.jsonl.gz"
    rows = [
        {
            "order_id": 1000 + n,
            "customer": f"c{chance.randint(1, 80)}",
            "ordered_on": str(DAY),
            "channel": chance.choice(["web", "shop", "phone"]),
            "total": round(chance.uniform(5, 300), 2),
            "items": chance.randint(1, 9),
        }
        for n in range(160)
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))
    return path


def deals(folder: Path) -> Path:
    """Columns that are called as words of YAML or functions are, as another column would be, and values with quotes.

    Sellers and models are too many to list.
    """
    chance, lines = random.Random(4), ["n,no,count,Größe in m²,off,sold_on,due_on,shop,gender,channel,seller,model"]
    for number in range(180):
        channel = chance.choice(["web shop", "it's", '4"" pipe', "Größe", "unknown", "日本", "a\\b"])
        shop, size = chance.choice(["north", "south", ""]), chance.uniform(1, 9)
        start = f"{number},{number % 5},{number % 7},{size:.2f},{number % 2}"
        due = DAY + timedelta(number % 9)
        lines.append(f'{start},{DAY},{due},{shop},{"mf"[number % 2]},"{channel}",s{number % 60},m{number % 70}')
    return _written(folder / f"deals-{DAY}.csv", "\n".join([*lines, ""]))


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
