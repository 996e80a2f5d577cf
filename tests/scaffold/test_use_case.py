"""A use case from five answers: what its files say, and what is refused without a trace."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.contracts.source import Column, Feed, Mode, Source
from include.contracts.use_case import Multiclass
from include.scaffold import use_case
from include.scaffold.errors import ScaffoldError
from include.scaffold.use_case import make

SHOP = Source(
    name="shop",
    description="A shop",
    owner="them",
    access="all",
    schedule="0 0 * * *",
    freshness_hours=6,
    first_day=date(2024, 1, 1),
    feeds=(Feed("orders", "Orders", (Column("channel", "string", "which", values=("web", "phone")),), ("channel",)),),
)
CORE = """
models:
  - name: fct_shop
    description: "Orders."
    data_tests:
      - primary_key:
          arguments: {columns: [order_id]}
    columns:
      - {name: order_id, data_type: int, description: "which order"}
      - {name: customer, data_type: string, description: "who"}
      - {name: ordered_on, data_type: date, description: "when"}
      - {name: channel, data_type: string, description: "by which way"}
      - {name: total, data_type: "decimal(12,2)", description: "for how much"}
      - {name: is_gift, data_type: boolean, description: "whether it is a gift"}
      - {name: weight, data_type: double, description: "how heavy"}
      - {name: weight_total, data_type: int, description: "how heavy, all in all"}
      - {name: event_date, data_type: date, description: "another day"}
      - {name: ingestion_date, data_type: date, description: "the night"}
"""
ANSWERS: dict[str, Any] = {
    "source": "shop",
    "task": "binary",
    "label": "count(order_id) > 0",
    "entity": ["customer"],
    "label_days": 30,
}


@pytest.fixture
def shop(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository with the core model of a shop."""
    folder = root / "dbt_project/models/marts/core/shop"
    folder.mkdir(parents=True)
    (folder / "_shop__core.yml").write_text(CORE)
    (folder / "fct_shop.sql").write_text("{{ config(meta={'day': 'ordered_on'}) }}\nselect 1")
    monkeypatch.setattr(use_case, "sources", lambda: {"shop": SHOP})
    return root


def text(shop: Path, path: str) -> str:
    return (shop / path).read_text()


def features_of(shop: Path, name: str) -> list[dict[str, Any]]:
    described = yaml.safe_load(text(shop, f"dbt_project/models/marts/use_cases/{name}/_{name}__models.yml"))
    features = described["models"][0]["columns"]
    return [column for column in features if "config" in column]


def test_marks_are_numbered_over_all_files(shop: Path) -> None:
    written = make(shop, "reorders", **ANSWERS)
    everything = "\n".join(text(shop, path) for path in written.files)
    assert sorted(int(number) for number in re.findall(r"THINK (\d+):", everything)) == [
        *range(1, len(written.marks) + 1)
    ]


def test_a_past_label_is_looked_at_once_it_is_known(shop: Path) -> None:
    make(shop, "reorders", **ANSWERS)
    past = {one["name"]: one["config"]["meta"] for one in features_of(shop, "reorders") if "label" in one["name"]}
    assert {name: meta["look_back_days"] for name, meta in past.items()} == {
        "label_mean_31d": 31,
        "label_mean_37d": 37,
        "label_mean_58d": 58,
    }
    labels = text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__labels.sql")
    assert "'lead_days': -30" in labels
    outcomes = text(shop, "dbt_project/models/intermediate/reorders/int_reorders__outcomes.sql")
    assert "count(facts.order_id) > 0" in outcomes


def test_a_feature_named_after_a_window_looks_back_as_far(shop: Path) -> None:
    make(shop, "reorders", **ANSWERS)
    named = {one["name"]: re.search(r"_(\d+)d$", one["name"]) for one in features_of(shop, "reorders")}
    looks = {one["name"]: one["config"]["meta"]["look_back_days"] for one in features_of(shop, "reorders")}
    assert all(looks[name] == int(window[1]) for name, window in named.items() if window)


def test_the_label_itself_is_no_feature_but_by_its_past(shop: Path) -> None:
    """A fraud is known a month later: its column is empty, or a lie, on the day that it arrives."""
    make(shop, "gifts", **ANSWERS | {"label": "is_gift"})
    names = [one["name"] for one in features_of(shop, "gifts")]
    assert [name for name in names if "gift" in name] == ["is_gift_mean_31d", "is_gift_mean_37d", "is_gift_mean_58d"]


def test_no_training_day_lacks_its_look_back(shop: Path) -> None:
    make(shop, "reorders", **ANSWERS)
    found = re.search(r"first_day=date\((\d+), (\d+), (\d+)\)", text(shop, "include/use_cases/reorders/spec.py"))
    assert found
    assert date(*map(int, found.groups())) >= SHOP.first_day + timedelta(58)


def test_the_spec_is_one(shop: Path) -> None:
    for task, label, more in (
        ("binary", "is_gift", {}),
        ("multiclass", "max(channel)", {}),
        ("regression", "sum(total)", {}),
    ):
        make(shop, f"a_{task}", **ANSWERS | {"task": task, "label": label} | more)
        names: dict[str, Any] = {}
        exec(text(shop, f"include/use_cases/a_{task}/spec.py"), names)
        spec = names["SPEC"]
        assert (spec.sources, spec.entity, spec.day, spec.label_days) == (("shop",), ("customer",), "ordered_on", 30)
        assert spec.task.baseline in spec.feature_names
        assert [one["name"] for one in features_of(shop, f"a_{task}")] == list(spec.feature_names)
        compile(text(shop, f"dags/use_cases/a_{task}.py"), "dags", "exec")
        compile(text(shop, f"tests/use_cases/a_{task}/test_oracle.py"), "test", "exec")


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"label": "is_gift", "label_days": 0}, date(2024, 4, 8)),  # 57 days, then 28 to train on and 14 to judge by
        ({}, date(2024, 7, 7)),  # 87 days, 28, 30 between the two, 14, and each label is known 30 days later
        ({"label": "is_gift", "label_days": 0, "every": "month"}, date(2028, 1, 1)),
    ],
)
def test_it_is_said_which_partition_is_the_first_to_train_in(shop: Path, given: dict[str, Any], first: date) -> None:
    """A newcomer who trains too early is refused, and would have to count back from the error."""
    made = make(shop, "reorders", **ANSWERS | given)
    assert f"{first} is the first with enough to learn from" in "".join(made.following)


def test_classes_are_those_of_the_source_or_as_said(shop: Path) -> None:
    make(shop, "ways", **ANSWERS | {"task": "multiclass", "label": "max(channel)"})
    assert 'classes=("web", "phone")' in text(shop, "include/use_cases/ways/spec.py")
    make(shop, "others", **ANSWERS | {"task": "multiclass", "label": "max(customer)", "classes": ["a", "b"]})
    assert 'classes=("a", "b")' in text(shop, "include/use_cases/others/spec.py")


ODD = ["it's", 'a "b" c', "Größe", "日本", "本日", "a\\b", "unknown"]


def test_a_class_may_have_any_name(shop: Path) -> None:
    """Quotes, letters of any alphabet, and the word for what no vocabulary has."""
    make(shop, "ways", **ANSWERS | {"task": "multiclass", "label": "max(channel)", "classes": ODD})
    spec = use_case.spec_of(text(shop, "include/use_cases/ways/spec.py"), "ways")
    assert spec.task == Multiclass(tuple(ODD), baseline="label_last")
    (last,) = (feature for feature in spec.features if feature.name == "label_last")
    assert last.levels == tuple(ODD)
    shares = [name for name in spec.feature_names if name.endswith("_share_31d") and name.startswith("label_")]
    words = ("it_s", "a_b_c", "grosse", "class", "class_2", "a_b", "unknown")
    assert shares == [f"label_{word}_share_31d" for word in words]
    features = text(shop, "dbt_project/models/marts/use_cases/ways/ways__features.sql")
    assert max(map(len, features.splitlines())) <= 120
    compile(text(shop, "tests/use_cases/ways/test_oracle.py"), "test", "exec")


@pytest.mark.parametrize(
    ("of", "literal"),
    [("web", "'web'"), ("it's", '"it\'s"'), ("a\\b", r"'a\\b'"), ("""a'b"c""", r"""'a\'b"c'""")],
)
def test_a_class_as_a_text_of_sql(of: str, literal: str) -> None:
    assert use_case.sql_text(of) == literal


def with_sample(shop: Path, **values: tuple[int, int]) -> None:
    """Say beside columns of the core model how many values they had in how many rows of the sample."""
    core = yaml.safe_load(CORE)
    for column in core["models"][0]["columns"]:
        if column["name"] in values:
            n, rows = values[column["name"]]
            column["config"] = {"meta": {"sample_values": n, "sample_rows": rows}}
    (shop / "dbt_project/models/marts/core/shop/_shop__core.yml").write_text(yaml.safe_dump(core))


def of_many_values(shop: Path, name: str) -> dict[str, tuple[str, int]]:
    """The features of columns of too many values to list: their as-of rules and look-backs."""
    metas = {one["name"]: one["config"]["meta"] for one in features_of(shop, name)}
    return {
        feature: (meta["as_of"], meta["look_back_days"])
        for feature, meta in metas.items()
        if meta["as_of"] == "values" or feature.endswith("_bucket")
    }


def test_a_column_of_too_many_values_to_list_is_told_by_its_labels_or_its_bucket(shop: Path) -> None:
    """The entity by its labels, another text by its bucket; both as far back, and as late, as the other features."""
    with_sample(shop, customer=(51, 60), channel=(70, 200))
    written = make(shop, "reorders", **ANSWERS)
    assert of_many_values(shop, "reorders") == {
        "customer_label_mean_58d": ("values", 58),
        "customer_labels_58d": ("values", 58),
        "channel_last_bucket": ("history", 28),
    }
    assert any("customer had 51 values in the sample, too many to list" in mark for mark in written.marks)
    assert any("channel: more than 50 values in the sample, too many to list" in mark for mark in written.marks)
    spec = use_case.spec_of(text(shop, "include/use_cases/reorders/spec.py"), "reorders")
    (bucket,) = (feature for feature in spec.features if feature.name == "channel_last_bucket")
    assert bucket.vocabulary == tuple(map(str, range(64)))


def test_each_class_has_a_share_of_the_labels_of_a_value(shop: Path) -> None:
    with_sample(shop, customer=(51, 60))
    make(shop, "ways", **ANSWERS | {"task": "multiclass", "label": "max(channel)"})
    found = of_many_values(shop, "ways")
    assert list(found) == ["customer_label_web_share_58d", "customer_label_phone_share_58d", "customer_labels_58d"]


@pytest.mark.parametrize(
    "sample",
    [
        {},
        {"customer": (50, 200), "channel": (50, 200)},  # as many can be listed
        {"channel": (150, 200)},  # a name of single rows, or free text
        {"order_id": (900, 9000), "total": (900, 9000)},  # the key, and a measure
    ],
)
def test_others_are_not(shop: Path, sample: dict[str, tuple[int, int]]) -> None:
    with_sample(shop, **sample)
    make(shop, "reorders", **ANSWERS)
    assert of_many_values(shop, "reorders") == {}
    assert "values:" not in text(shop, "dbt_project/models/marts/use_cases/reorders/_reorders__models.yml")


def test_a_row_that_names_no_entity_is_nobody_to_predict(shop: Path) -> None:
    make(shop, "reorders", **ANSWERS)
    population = text(shop, "dbt_project/models/intermediate/reorders/int_reorders__population.sql")
    assert "and customer is not null" in population


def test_the_oracle_has_rows_of_which_some_are_as_the_label_and_the_population_ask(shop: Path) -> None:
    given = {"label": "count_if(channel = 'web') > 0", "population": "total > 1000 or channel in ('phone')"}
    make(shop, "ways", **ANSWERS | given)
    (said,) = re.findall(r"^VALUES[^=]* = (\{.*?\})$", text(shop, "tests/use_cases/ways/test_oracle.py"), re.M | re.S)
    values = ast.literal_eval(said)
    assert {"web", "phone"} < set(values["channel"])
    assert min(values["total"]) < 1000 < max(values["total"])


def test_a_column_in_backticks_is_that_column(shop: Path) -> None:
    make(shop, "gifts", **ANSWERS | {"label": "`is_gift`"})
    assert 'label="is_gift"' in text(shop, "include/use_cases/gifts/spec.py")


CLICKS = """
models:
  - name: fct_clicks
    description: "Clicks."
    data_tests:
      - primary_key:
          arguments: {columns: [clicked_on, click_id]}
    columns:
      - {name: click_id, data_type: int, description: "which click"}
      - {name: %s, data_type: string, description: "who"}
      - {name: clicked_on, data_type: date, description: "when"}
      - {name: seconds, data_type: double, description: "how long"}
      - name: page
        data_type: string
        description: "what was seen"
        config: {meta: {sample_values: 70, sample_rows: 900}}
      - {name: is_mobile, data_type: boolean, description: "whether on a phone"}
      - {name: ingestion_date, data_type: date, description: "the night"}
"""


def with_clicks(shop: Path, monkeypatch: pytest.MonkeyPatch, who: str, **changed: Any) -> Path:
    """The same with a second source, whose core model has ``who`` clicked."""
    folder = shop / "dbt_project/models/marts/core/clicks"
    folder.mkdir(parents=True)
    (folder / "_clicks__core.yml").write_text(CLICKS % who)
    (folder / "fct_clicks.sql").write_text("{{ config(meta={'day': 'clicked_on'}) }}\nselect 1")
    clicks = replace(SHOP, name="clicks", **changed)
    monkeypatch.setattr(use_case, "sources", lambda: {"shop": SHOP, "clicks": clicks})
    return shop


def test_a_second_source_is_joined_by_the_columns_of_the_entity_that_it_has(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_clicks(shop, monkeypatch, "customer", first_day=date(2024, 2, 1))
    made = make(shop, "reorders", **ANSWERS | {"entity": ["customer", "channel"], "further": ["clicks"]})
    spec = use_case.spec_of(text(shop, "include/use_cases/reorders/spec.py"), "reorders")
    assert spec.sources == ("shop", "clicks")
    assert spec.training.first_day > date(2024, 2, 1) + timedelta(58), "all sources have the longest look-back"
    of_clicks = [name for name in spec.feature_names if name.startswith("clicks_")]
    assert of_clicks[:4] == [
        "clicks_rows_1d",
        "clicks_seconds_sum_1d",
        "clicks_seconds_mean_1d",
        "clicks_is_mobile_share_1d",
    ]
    assert of_clicks[-2:] == ["clicks_days_since_last", "clicks_page_last_bucket"]
    assert [one["name"] for one in features_of(shop, "reorders")] == list(spec.feature_names)
    features = text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__features.sql")
    assert "    inner join clicks_daily as daily\n        on population.customer = daily.customer\n" in features
    assert "population.ordered_on > daily.ingestion_date" in features, "what had not arrived is not looked at"
    assert "clicks_history.known_from" in features
    described = yaml.safe_load(text(shop, "dbt_project/models/marts/use_cases/reorders/_reorders__models.yml"))
    draws_on = described["models"][0]["config"]["meta"]["draws_on"]
    assert draws_on == {"fct_shop": [-87, -1], "fct_clicks": [-28, -1]}
    assert "after=assets.inputs(CASE)" in text(shop, "dags/use_cases/reorders.py")
    assert [line for line in made.following if "make backfill source=clicks from=2024-02-01" in line]


def test_columns_of_too_many_values_are_told_beside_a_second_source(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entity of the first by its labels, and the texts of each by their buckets."""
    with_clicks(shop, monkeypatch, "customer")
    with_sample(shop, customer=(51, 60), channel=(70, 200))
    written = make(shop, "reorders", **ANSWERS | {"further": ["clicks"]})
    assert of_many_values(shop, "reorders") == {
        "customer_label_mean_58d": ("values", 58),
        "customer_labels_58d": ("values", 58),
        "channel_last_bucket": ("history", 28),
        "clicks_page_last_bucket": ("history", 28),
    }
    assert [mark for mark in written.marks if "page: more than 50 values" in mark]
    features = text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__features.sql")
    (greatest,) = re.findall(r"greatest\((.*?)\) as known_from", features, re.S)
    parts = ("population.ingestion_date", "history", "clicks_history", "past", "by_customer")
    assert re.sub(r"\.known_from|\s", "", greatest).split(",") == list(parts), "all that a row draws on"


@pytest.mark.parametrize("join", ["clicks.client=customer", "fct_clicks.client = customer"])
def test_it_is_said_what_is_equal_where_names_differ(shop: Path, monkeypatch: pytest.MonkeyPatch, join: str) -> None:
    with_clicks(shop, monkeypatch, "client")
    make(shop, "reorders", **ANSWERS | {"further": ["clicks"], "join": [join]})
    features = text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__features.sql")
    assert "on population.customer = daily.client" in features


def test_rows_may_be_for_all_of_a_day(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_clicks(shop, monkeypatch, "client")
    make(shop, "reorders", **ANSWERS | {"further": ["clicks"], "join": ["clicks.clicked_on=ordered_on"]})
    features = text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__features.sql")
    assert "inner join clicks_daily as daily\n        on daily.clicked_on >= date_sub(population.ordered_on" in features
    assert "page" not in features, "of many rows a day none is the newest"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"further": ["clicks"]},
            r"source=clicks: no core model of it has a column of the entity \(customer\). Say what is equal: "
            r"join=fct_clicks.client=customer or fct_clicks.page=customer; or, where a row is for all of a day, "
            r"join=fct_clicks.clicked_on=ordered",
        ),
        ({"further": ["rides"]}, "source=rides: there is no such source; there are shop, clicks"),
        ({"further": ["shop"]}, "source=shop,shop: each once"),
        ({"join": ["clicks.client=customer"]}, "there is one source alone"),
        ({"further": ["clicks"], "join": ["client=customer"]}, "say it as clicks.client=customer"),
        ({"further": ["clicks"], "join": ["rides.client=customer"]}, "rides is none of the further sources"),
        ({"further": ["clicks"], "join": ["clicks.user=customer"]}, "no core model has the columns user"),
        ({"further": ["clicks"], "join": ["clicks.client=total"]}, "total is no column of the entity"),
        (
            {"further": ["clicks"], "join": ["clicks.click_id=customer"]},
            "fct_clicks.click_id is a int and customer is a",
        ),
    ],
)
def test_a_second_source_that_does_not_join_is_refused(
    shop: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], why: str
) -> None:
    before = sorted(with_clicks(shop, monkeypatch, "client").rglob("*"))
    with pytest.raises(ScaffoldError, match=why):
        make(shop, "reorders", **ANSWERS | given)
    assert sorted(shop.rglob("*")) == before


def test_of_two_models_that_go_with_the_entity_one_is_to_be_said(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = with_clicks(shop, monkeypatch, "customer") / "dbt_project/models/marts/core/clicks"
    (folder / "_other.yml").write_text((CLICKS % "customer").replace("fct_clicks", "fct_views"))
    (folder / "fct_views.sql").write_text((folder / "fct_clicks.sql").read_text())
    with pytest.raises(ScaffoldError, match=r"fct_clicks, fct_views have .* Say join=fct_clicks.customer=customer or"):
        make(shop, "reorders", **ANSWERS | {"further": ["clicks"]})
    make(shop, "reorders", **ANSWERS | {"further": ["clicks"], "join": ["fct_views.customer=customer"]})
    assert "fct_views" in text(shop, "dbt_project/models/marts/use_cases/reorders/reorders__features.sql")


STATUS = (
    Column("order_id", "int", "which", required=True),
    Column("customer", "string", "who", required=True),
    Column("channel", "string", "by which way", values=("web", "phone")),
    Column("op", "string", "what was done", required=True, values=("insert", "delete")),
)


def test_of_snapshots_the_newest_is_asked_and_nothing_is_added_up(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fee that each day's table says again is paid once; who is in an old table alone is gone."""
    feed = Feed("shop", "The shop", STATUS, ("order_id",), mode=Mode.SNAPSHOT)
    monkeypatch.setattr(use_case, "sources", lambda: {"shop": replace(SHOP, feeds=(feed,))})
    # The key of the core model says of what a row is: of an order.
    make(shop, "states", **ANSWERS | {"entity": ["order_id"], "label": "count_if(channel = 'web') > 0"})
    spec = use_case.spec_of(text(shop, "include/use_cases/states/spec.py"), "states")
    assert {"channel_last", "total_last", "is_gift_last", "total_mean_28d"} <= set(spec.feature_names)
    assert [name for name in spec.feature_names if "_sum_" in name] == []
    (plan,) = (feature for feature in spec.features if feature.name == "channel_last")
    assert plan.vocabulary == ("web", "phone")
    population = text(shop, "dbt_project/models/intermediate/states/int_states__population.sql")
    assert "max(snapshots.ordered_on) as taken_on" in population
    with pytest.raises(ScaffoldError, match="the models have a column event_date for themselves"):
        make(shop, "others", **ANSWERS | {"population": "event_date is not null"})


def test_of_changes_the_newest_of_all_is_asked_however_old(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (*STATUS, Column("weight_total", "int", "the order of changes", required=True))
    feed = Feed("shop", "The shop", columns, ("customer",), mode=Mode.UPSERT, op="channel", sequence="weight_total")
    core = text(shop, "dbt_project/models/marts/core/shop/_shop__core.yml")
    keyed = core.replace("[order_id]", "[ordered_on, customer, weight_total]")
    (shop / "dbt_project/models/marts/core/shop/_shop__core.yml").write_text(keyed)
    monkeypatch.setattr(use_case, "sources", lambda: {"shop": replace(SHOP, feeds=(feed,))})
    make(shop, "states", **ANSWERS)
    population = text(shop, "dbt_project/models/intermediate/states/int_states__population.sql")
    assert "partition by customer\n            order by weight_total\n" in population
    assert "channel not in ('delete'" in population
    features = text(shop, "dbt_project/models/marts/use_cases/states/states__features.sql")
    assert "where ordered_on <= {{ night('to') }}" in features
    described = {one["name"]: one["config"]["meta"] for one in features_of(shop, "states")}
    models = yaml.safe_load(text(shop, "dbt_project/models/marts/use_cases/states/_states__models.yml"))["models"]
    assert models[0]["config"]["meta"]["draws_on"] == {"fct_shop": [-3653, -1]}, "all of them are waited for"
    assert (described["total_last"]["as_of"], described["days_since_last"]["as_of"]) == ("state", "state")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"source": "shops"}, "source=shops: there is no such source; there are shop"),
        ({"task": "ranking"}, "task=ranking: it is one of binary, multiclass, regression"),
        ({"label": "is_fraud"}, "fct_shop has no column is_fraud; it has order_id, customer"),
        ({"label": "total > 3"}, "says nothing of many rows: use count"),
        ({"label": "channel"}, "label=channel is of the type string, and a label of binary is boolean"),
        ({"label": "customer"}, "it is known beforehand"),
        ({"label": "total", "task": "regression"}, r"may have several rows on a day .*label='sum\(total\)'"),
        ({"label": "count(*) >"}, "is no SQL expression"),
        ({"entity": ["client"]}, r"entity=client: no core model has these columns. There are: fct_shop \(order_id"),
        ({"entity": ["ordered_on"]}, "no core model has these columns"),
        ({"entity": []}, "say the columns that name one thing"),
        ({"label_days": -1}, "label_days=-1: a label is known on its event date or later"),
        ({"population": "total >"}, "population='total >' is no SQL expression"),
        ({"population": "sum(total) > 1"}, "is of single rows: no aggregate"),
        ({"population": "size > 1"}, "fct_shop has no column size"),
        ({"table": "fct_orders"}, "table=fct_orders: there is no such core model"),
        ({"every": "hour"}, "every=hour: it is one of day, week, month"),
        ({"classes": ["a"]}, "classes=: binary has none"),
        ({"task": "multiclass", "label": "max(customer)"}, "which values can"),
        (
            {"task": "multiclass", "label": "max(channel)", "classes": ["<5", ">5"]},
            "same column name, 5. Call them",
        ),
        ({"task": "multiclass", "label": "max(channel)", "classes": ["{{a}}", "b"]}, "that dbt takes for its own"),
        ({"task": "multiclass", "label": "max(channel)", "classes": ["a\nb", "b"]}, "signs that end a line"),
        ({"task": "multiclass", "label": "max(total)"}, "is a number, and a label of multiclass is a text"),
        ({"label": "max(channel)"}, "is a text, and a label of binary is a condition or a number"),
        ({"label": "fct_shop.is_gift"}, "say is_gift and not fct_shop.is_gift"),
        ({"population": "total"}, "is a number, and no condition"),
        ({"entity": ["weight"]}, "entity=weight: it is a double, and two of these are hardly ever equal"),
        ({"entity": ["is_gift"]}, "yes or no names no thing"),
        ({"entity": ["customer", "event_date"]}, "the models have a column of that name for themselves"),
        ({"entity": ["weight_total"]}, "the models have a column of that name for themselves"),
    ],
)
def test_an_answer_that_does_not_do_is_refused_and_nothing_is_left(shop: Path, given: dict[str, Any], why: str) -> None:
    before = sorted(shop.rglob("*"))
    with pytest.raises(ScaffoldError, match=why):
        make(shop, "reorders", **ANSWERS | given)
    assert sorted(shop.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "why"),
    [("Reorders", "a name is small"), ("shop", "a source is called so"), ("flight_delays", "there is one already")],
)
def test_a_name_that_does_not_do_is_refused(shop: Path, name: str, why: str) -> None:
    with pytest.raises(ScaffoldError, match=why):
        make(shop, name, **ANSWERS)


def test_a_taken_file_is_left_alone(shop: Path) -> None:
    make(shop, "reorders", **ANSWERS)
    with pytest.raises(ScaffoldError, match="is there already: take another name"):
        make(shop, "reorders", **ANSWERS)
