"""The training set: features ⋈ labels of a range of days as of a night, in a fixed order, and its split by time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from include.contracts.use_case import UNKNOWN, Feature, UseCase
from include.core.ahead import ahead
from include.core.errors import NeedsAttentionError
from include.lake import delta, publications, usage
from include.ml import answers
from include.sources import sources

if TYPE_CHECKING:
    import pyarrow as pa

KNOWN = answers.KNOWN
"""The column of a labels table: the night from which a label is known."""

KNOWN_FROM = "known_from"
"""The column of a features table: the night from which all values of a row were known."""

DELTA_VERSION = "delta_version."
"""What the tags of a model version begin with that name the version of each gold table it was trained on."""

MOST_UNMATCHED = 0.01
"""The share of rows that may have features and no label yet, or the other way round: what comes late."""

PART_ROWS = 250_000
"""At most so many rows are read at once, unless one day has more."""

type Floats = npt.NDArray[np.float32]


class DataMissingError(NeedsAttentionError):
    """Days or columns that a model needs are not there; the message lists them."""


class UnfitFeatureError(NeedsAttentionError):
    """A column has values that no model can take; the message names it and them."""


@dataclass(frozen=True)
class Split:
    """Three ranges of days in their order, each ``(first, last)``, both included; no validation is None.

    Between two of them lie the days whose labels share time with those of the later one.
    """

    train: tuple[date, date]
    valid: tuple[date, date] | None
    holdout: tuple[date, date]


@dataclass(frozen=True)
class Dataset:
    """Which rows a training set has, and three ways to read them. :func:`load` makes one.

    A row is an entity with its day, features and label. However they are read, rows are sorted by day and entity, and
    the same versions of the same tables give the same rows.

    Attributes:
        first, last: the days of the rows, both included.
        as_of: the night; a label that was known only later is left out, and its row with it.
        versions: the Delta version of each table it reads, by table name.
        features: its columns beside entity, day and label.
        answers_through: the last day on which a label that a person has given counts; None: on none.
    """

    case: UseCase
    first: date
    last: date
    as_of: date
    versions: dict[str, int]
    features: tuple[Feature, ...]
    answers_through: date | None = None

    @cached_property
    def frame(self) -> pl.DataFrame:
        """All rows, in memory."""
        return pl.concat(self.frames(), rechunk=False)  # joining the parts would take them twice

    def scan(self) -> pl.LazyFrame:
        """All rows, lazily: a query reads only the columns that it uses."""
        return self._matched((self.first, self.last)).sort(self.case.key)

    def narrowed(self, days: tuple[date, date], features: Sequence[Feature]) -> Dataset:
        """The same rows of fewer days, with other features of the same table, which must be there."""
        return replace(self, first=days[0], last=days[1], features=tuple(features))

    def batches(self, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """All rows as Arrow record batches of at most ``rows``; never more than a part of them is in memory."""
        for frame in self.frames():
            # The types that every reader of Arrow knows, and not the newest.
            yield from frame.to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches(max_chunksize=rows)

    def empty_columns(self) -> tuple[int, set[str]]:
        """How many rows there are, and which features have no value in any of them."""
        names = {feature.name for feature in self.features}
        counted = [pl.len().alias(""), pl.col(*names).count()]
        counts = (
            pl.concat(self._matched(part).select(counted).collect() for part in self._parts).sum().row(0, named=True)
        )
        return counts.pop(""), {name for name, count in counts.items() if not count}

    @cached_property
    def content_hash(self) -> str:
        """sha256 of all rows in their order; the order of columns does not matter."""
        return delta.hash_in_order(self.frames())

    def require_complete(self) -> None:
        """Raise DataMissingError unless the columns are there and each day has features and labels.

        Features without a label, or the other way round, came late; where there are many, one table is wrong. Days of
        a gap (:func:`quiet_days`) may lack either.
        """
        case, days = self.case, (self.first, self.last)
        check_columns(case, self.columns, self.features)
        gaps = quiet_days(case, *days)
        labels = self._labels(days).group_by(case.day).len().collect()
        for table, rows in ((case.features_table, self._rows_a_day), (case.labels_table, labels)):
            require_days(table, rows, self.first, self.last, case.day, gaps)
        whole = ~pl.col(case.day).is_in(gaps)
        wanted, known = (int(rows.filter(whole)["len"].sum()) for rows in (self._rows_a_day, labels))
        try:
            counted = [self._both(part).filter(whole).select(pl.len()) for part in self._parts]
            both = sum(rows.item() for rows in ahead((rows.collect for rows in counted), self._ahead))
        except pl.exceptions.ComputeError as error:
            if "validation" not in str(error):
                raise
            raise DataMissingError(
                f"{case.features_table} or {case.labels_table} has a {case.entity_name} twice on a day of "
                f"{self.first} to {self.last}: find it with dbt's test of the key, and run that night again"
            ) from error
        if wanted + known - 2 * both > MOST_UNMATCHED * wanted:
            raise DataMissingError(
                f"{case.features_table} has {wanted} rows and {case.labels_table} {known} for {self.first} to "
                f"{self.last}, but only {both} have both"
            )

    @cached_property
    def columns(self) -> list[str]:
        """The columns of the features table, at its version."""
        return self._features((self.first, self.last)).collect_schema().names()

    @cached_property
    def _rows_a_day(self) -> pl.DataFrame:
        return self._features((self.first, self.last)).group_by(self.case.day).len().sort(self.case.day).collect()

    @cached_property
    def _parts(self) -> list[tuple[date, date]]:
        return parts(self._rows_a_day.rows())

    def frames(self) -> Iterator[pl.DataFrame]:
        """All rows, part by part; the next ones are being read. As they follow each other, sorting each sorts all."""
        return ahead((partial(self._part, days) for days in self._parts), self._ahead)

    def _part(self, days: tuple[date, date]) -> pl.DataFrame:
        return self._matched(days).sort(self.case.key).collect().rechunk()

    @property
    def _ahead(self) -> int:
        """How many parts are read at a time while another one is looked at; Polars uses more threads for each."""
        return max(1, self.case.training.threads // 2)

    def _matched(self, days: tuple[date, date]) -> pl.LazyFrame:
        """What has features and a label to learn from, in no particular order."""
        return labelled(self.case, self._both(days))

    def _both(self, days: tuple[date, date]) -> pl.LazyFrame:
        """What is in both tables."""
        case = self.case
        joined = self._features(days).join(self._labels(days), on=case.key, how="inner", validate="1:1")
        # A column of the entity may be a feature too.
        columns = dict.fromkeys([*case.entity, case.day, *(feature.name for feature in self.features), case.label])
        return joined.select(*columns)

    def _features(self, days: tuple[date, date]) -> pl.LazyFrame:
        return between(self.case, self._tables[self.case.features_table], days)

    def _labels(self, days: tuple[date, date]) -> pl.LazyFrame:
        rows = between(self.case, self._tables[self.case.labels_table], days)
        found = rows.filter(pl.col(KNOWN) <= self.as_of).select(*self.case.key, self.case.label)
        if self.answers_through is None:
            return found
        return answers.filled(self.case, found, between(self.case, self._answers, days), self.answers_through)

    @cached_property
    def _answers(self) -> pl.DataFrame:
        return answers.read(self.case, self.as_of, self.versions[self.case.labelled_table])

    @cached_property
    def _tables(self) -> dict[str, pl.LazyFrame]:
        """Both tables at their versions: to open one reads its log."""
        tables = (self.case.features_table, self.case.labels_table)
        return {table: delta.scan("gold", table, self.versions[table]) for table in tables}

    def with_answers(self) -> Dataset:
        """The same, with labels that persons have given on the days to fit on.

        What is labelled was chosen, as where the model is least sure: nothing is judged by it.
        """
        known = [self._matched(part).select(self.case.day).unique().collect() for part in self._parts]
        days = {day for rows in known for day in rows[self.case.day]}
        if not days:
            return self
        absent = set(days_between(min(days), max(days))) - days
        try:
            return replace(self, answers_through=split_days(self.case, min(days), max(days), absent).train[1])
        except DataMissingError:
            return self


def labelled[Frame: (pl.DataFrame, pl.LazyFrame)](case: UseCase, rows: Frame) -> Frame:
    """``rows`` without those of which is known that there is no label."""
    return rows.filter(pl.col(case.label).is_not_null()) if case.unlabelled else rows


def days_between(first: date, last: date) -> list[date]:
    """Every day from ``first`` to ``last``, both included."""
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def days_of_gaps(case: UseCase) -> list[date]:
    """The days that may have no features, or no labels, since a source says that it never had a night (``gaps``).

    A night brings the labels of the day ``label_days`` before it, and what the features of the day ``horizon_days``
    later are made of.
    """
    known = sources()
    nights = {night for name in case.sources if name in known for night in known[name].gaps}
    return sorted({night + timedelta(later) for night in nights for later in (-case.label_days, case.horizon_days)})


def refused_days(case: UseCase) -> set[date]:
    """The days that may have no features, or no labels, since the feature gate has once refused their night.

    Also those of nights that are through by now: a version that was trained before is read without them.
    """
    if not delta.exists("gold", case.faults_table):
        return set()
    lines = delta.read_all("gold", case.faults_table, columns=["event_date", "partition_day"]).unique()
    return {day for event, night in lines.iter_rows() for day in (event, night - timedelta(case.label_days))}


def quiet_days(case: UseCase, first: date, last: date) -> set[date]:
    """The event dates from ``first`` to ``last`` that may have no rows.

    A source was closed on them or never had them, their features were published without any, or refused.
    """
    days, table, known = days_between(first, last), f"gold.{case.features_table}", sources()
    closed = {day for name in case.sources if name in known for day in days if not known[name].is_open(day)}
    empty = publications.known(table, days) - usage.days_of(table)
    return {*days_of_gaps(case), *closed, *empty, *refused_days(case)}


def check_columns(
    case: UseCase, columns: Collection[str], features: Sequence[Feature] | None = None, who: str = ""
) -> None:
    """Raise DataMissingError unless a features table has the columns of ``features``, and none that nobody has named.

    ``features`` are those of the spec, or those of the version ``who``. A column is named that the spec has as a
    feature or as context, or that the version takes.
    """
    taken = {*case.key, *(one.name for one in (case.features if features is None else features))}
    missing = sorted(taken - set(columns))
    extra = sorted(set(columns) - taken - {KNOWN_FROM, *case.context, *case.feature_names})
    if missing and who:
        raise DataMissingError(
            f"{case.features_table} does not match what {who} takes: missing {', '.join(missing)}. Bring it back in "
            f"dbt, as `context` in include/use_cases/{case.name}/spec.py where no new version is to take it, until "
            f"another version that does without is champion (DAG {case.name}_train)"
        )
    if missing or extra:
        raise DataMissingError(
            f"{case.features_table} does not match the spec of {case.name}: missing {', '.join(missing) or 'nothing'}; "
            f"not in the spec {', '.join(extra) or 'nothing'}. Build the one by dbt (DAG {case.name}_features), list "
            f"the other as a feature or as `context` in include/use_cases/{case.name}/spec.py"
        )


def require_days(
    table: str, frame: pl.DataFrame, first: date, last: date, day: str, gaps: Collection[date] = ()
) -> None:
    """Raise DataMissingError listing the days of the range that have no row in ``frame``, those of ``gaps`` apart."""
    there = set(frame[day].unique())
    absent = sorted(set(days_between(first, last)) - there - set(gaps if there else ()))
    if absent:
        shown = ", ".join(map(str, absent[:10])) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
        raise DataMissingError(f"{table} has no rows for {len(absent)} of the days {first} to {last}: {shown}")


def newest_label_day(case: UseCase, night: date) -> date:
    """The last event date whose labels are known in ``night``."""
    return night - timedelta(case.label_days)


def training_range(case: UseCase, through: date, gaps: Collection[date] | None = None) -> tuple[date, date]:
    """The event dates to read for a training in the night ``through``: those whose labels are known by then.

    Raises DataMissingError where they are too few, those of ``gaps`` not counted.
    """
    training, last = case.training, newest_label_day(case, through)
    first = max(training.first_day, last - timedelta(training.window_days - 1))
    if gaps is None:
        features, labels = (usage.days_of(f"gold.{table}") for table in (case.features_table, case.labels_table))
        gaps = quiet_days(case, first, last) - (refused_days(case) & features & labels)
    absent = set(gaps)
    there = [day for day in days_between(first, last) if day not in absent] if first <= last else []
    try:
        begin, end = split_days(case, first, last, absent).train
        left = sum(begin <= day <= end for day in there)
    except DataMissingError:
        left = 0
    if left < training.min_train_days:
        late = f", whose labels are known in the night {through}," if case.label_days else ""
        beside = [f"{training.valid_days} to validate it"] if training.valid_days else []
        beside.append(f"{training.holdout_days} to judge it by")
        if case.label_days:
            beside.append(f"{case.label_days} before each of these, whose labels share time with theirs")
        raise DataMissingError(
            f"a training needs {training.min_train_days} days with complete look-back, beside {', '.join(beside)}. "
            f"From {training.first_day} through {last}{late} there are {len(there)}, which leave {left}. Train in a "
            f"later night, or ask for less in `Training` of include/use_cases/{case.name}/spec.py"
        )
    return first, last


def split_days(case: UseCase, first: date, last: date, absent: Collection[date] = ()) -> Split:
    """Cut a range by time: the holdout is the last days, validation lies before it, the rest is for training.

    The ``label_days`` before validation and before the holdout belong to neither: their labels were not known yet when
    the later part began, and share time with its labels. Days that are ``absent`` count nowhere, so that no part is
    empty. Raises DataMissingError where no day is left.
    """
    training, days = case.training, [day for day in days_between(first, last) if day not in absent]

    def cut(rest: list[date], size: int) -> tuple[list[date], list[date]]:
        """What lies clear of the last ``size`` days, and these."""
        later = rest[len(rest) - size :] if 0 < size <= len(rest) else []
        return [day for day in rest if not later or day < later[0] - timedelta(case.label_days)], later

    rest, holdout = cut(days, training.holdout_days)
    train, valid = cut(rest, training.valid_days)
    if not train or not holdout or (training.valid_days and not valid):
        raise DataMissingError(f"{first} to {last} leaves no day to train on")
    return Split((train[0], train[-1]), (valid[0], valid[-1]) if valid else None, (holdout[0], holdout[-1]))


def parts(rows_a_day: list[tuple[date, int]]) -> list[tuple[date, date]]:
    """Days, in their order, cut into ranges of at most ``PART_ROWS`` rows, or of one day that has more."""
    found: list[tuple[date, date]] = []
    together = 0
    for day, rows in rows_a_day:
        if found and together + rows <= PART_ROWS:
            found[-1] = (found[-1][0], day)
            together += rows
        else:
            found.append((day, day))
            together = rows
    return found


def load(
    case: UseCase,
    first: date,
    last: date,
    *,
    as_of: date | None = None,
    versions: Mapping[str, int] | None = None,
    features: Sequence[Feature] | None = None,
    with_answers: bool = False,
) -> Dataset:
    """The training set of the days ``first`` to ``last``, as it was known in the night ``as_of``.

    By default, that is the first night in which the labels of ``last`` are known.

        data = load(use_case("flight_delays"), date(2013, 1, 29), date(2013, 5, 31))
        data.frame                                                      # a Polars frame
        data.scan().group_by("carrier").agg(pl.mean("is_disrupted")).collect()      # two columns of it
        for batch in data.batches(): ...                                # more than fits into memory
        again = load(data.case, data.first, data.last, versions=data.versions)
        assert again.content_hash == data.content_hash                  # whatever was written since

    Both tables are read at the version they have now, or at ``versions``, by table name. A label that was not known in
    the night of ``as_of`` is not there, so that the same days give the same set, whatever came late. A row with
    features and no label, or the other way round, is left out. ``features`` are those of the spec unless others are
    given, as those of a version (``registry.training_set``). ``with_answers``, or where ``versions`` names their table,
    labels that persons have given count on the days to fit on, where there are no others (``include.ml.answers``).

    Raises ValueError for arguments that contradict each other, DataMissingError where days or columns lack,
    TableMissingError, and VersionMissingError for a version that is not there any more.
    """
    as_of = as_of or last + timedelta(case.label_days)
    if last < first:
        raise ValueError(f"a training set ends before it begins: {first} to {last}")
    if (newest := newest_label_day(case, as_of)) < last:
        raise ValueError(f"as of the night {as_of}, {last} has no labels yet: end the range with {newest}, or before")
    tables = (case.features_table, case.labels_table)
    if versions is not None and set(versions) - {case.labelled_table} != set(tables):
        raise ValueError(f"versions of {', '.join(versions) or 'nothing'} are given, and not of {' and '.join(tables)}")
    if versions is None:
        given = (case.labelled_table,) if with_answers and delta.exists("gold", case.labelled_table) else ()
        versions = {table: delta.version("gold", table) for table in (*tables, *given)}
    else:
        for table in tables:
            delta.require_whole("gold", table, versions[table], first, last, day=case.day)
    data = Dataset(case, first, last, as_of, dict(versions), case.features if features is None else tuple(features))
    if case.labelled_table in versions:
        data = data.with_answers()
    data.require_complete()
    return data


def encode(feature: Feature, values: pl.Series) -> pl.Series:
    """One feature as 32-bit floats: numbers as they are (null is missing), categories as their code.

    A category outside the vocabulary, and null, get the code of ``unknown``. Raises UnfitFeatureError for a column of
    another type than the feature is of, and for an infinite number.
    """
    return encoded([feature], values.alias(feature.name).to_frame()).to_series()


def encoded(features: Sequence[Feature], frame: pl.DataFrame) -> pl.DataFrame:
    """The same of several features, in their order: all columns at once, so that they share the cores."""
    found = frame.select(_encoded(feature, frame.schema[feature.name]) for feature in features)
    numbers = [feature.name for feature in features if feature.kind != "categorical"]
    infinite = found.select(pl.col(numbers).is_infinite().sum()).row(0, named=True) if numbers else {}
    if odd := next((name for name, count in infinite.items() if count), None):
        raise UnfitFeatureError(
            f"{odd} has {infinite[odd]} of {frame.height} values that are infinite, or too large for 32 bits: make "
            "them null in dbt where they mean that there is none, and run the night again"
        )
    return found


def _encoded(feature: Feature, of: pl.DataType) -> pl.Expr:
    column = pl.col(feature.name)
    if feature.kind == "categorical":
        if of not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            raise UnfitFeatureError(f"{feature.name} is a category to the model, and the column has {of}")
        codes = {level: float(code) for code, level in enumerate(feature.levels)}
        return column.cast(pl.String).replace_strict(codes, default=codes[UNKNOWN], return_dtype=pl.Float32)
    if not (of.is_numeric() or of in (pl.Boolean, pl.Null)):
        raise UnfitFeatureError(f"{feature.name} is a number to the model, and the column has {of}")
    return column.cast(pl.Float32)


def matrix(features: Sequence[Feature], frame: pl.DataFrame) -> Floats:
    """The features as a matrix, rows × features in their order; missing is NaN. Raises UnfitFeatureError."""
    return encoded(features, frame).to_numpy().astype(np.float32, copy=False)


def between[Frame: (pl.DataFrame, pl.LazyFrame)](case: UseCase, frame: Frame, days: tuple[date, date]) -> Frame:
    """The rows of a range of days, order kept."""
    return frame.filter(pl.col(case.day).is_between(*days))
