"""Every setting of the platform, typed, in one place.

Each field is read from the environment variable ``NOCTURNE_<FIELD>`` (upper case); the defaults are the laptop
profile, which needs no account, no container engine and no network. Nothing else in the project reads
``os.environ``; a test enforces that.
"""

from functools import cache
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HOME = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """The settings of one installation. Paths are absolute; ports are TCP; memory is in Java's notation."""

    model_config = SettingsConfigDict(env_prefix="NOCTURNE_", frozen=True)

    home: Path = Field(HOME, description="the repository, which is also AIRFLOW_HOME")
    var: Path = Field(HOME / "var", description="all state: landing, lake, databases, logs, secrets, reports")
    host: str = Field("127.0.0.1", description="the address every service binds; loopback unless told otherwise")

    airflow_port: int = 8080
    mlflow_port: int = 5000
    spark_port: int = Field(15002, description="Spark Connect")

    spark_remote: str = Field("", description="a Spark Connect endpoint to use instead of the local one")
    spark_memory: str = Field("3g", description="heap of the local Spark server's JVM")
    spark_cores: int = Field(2, description="task threads of the local Spark server")
    jars: Path = Field(HOME / "var" / "jars", description="Delta's jars; as .venv, for all installations of a clone")
    ivy_settings: str = Field("", description="an Ivy settings file, where Maven Central is reached through a mirror")

    vacuum_hours: int = Field(168, description="how long a replaced file of a table stays, for those still reading it")

    device: str = Field("auto", description="where XGBoost trains: auto, cpu or cuda")

    @field_validator("home", "var", "jars")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """A relative path means one from where the command was given."""
        return path.expanduser().resolve()

    @property
    def landing(self) -> Path:
        """Where upstreams put files: ``<source>/<feed>/<YYYY-MM-DD>.<ext>``."""
        return self.var / "landing"

    @property
    def lake(self) -> Path:
        """The Delta tables: ``<layer>/<table>/``."""
        return self.var / "lake"

    @property
    def report(self) -> Path:
        return self.var / "report"

    @property
    def secrets(self) -> Path:
        """Generated secrets, mode 0600, one file each."""
        return self.var / "secrets"

    @property
    def log(self) -> Path:
        return self.var / "log"

    @property
    def run(self) -> Path:
        """The supervisor's socket, pid and configuration, mode 0700."""
        return self.var / "run"

    @property
    def airflow_database(self) -> Path:
        return self.var / "airflow" / "airflow.db"

    @property
    def mlflow_database(self) -> Path:
        return self.var / "mlflow" / "mlflow.db"

    @property
    def airflow_url(self) -> str:
        return f"http://{self.host}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"

    @property
    def spark_url(self) -> str:
        return self.spark_remote or f"sc://{self.host}:{self.spark_port}"

    def secret(self, name: str) -> str:
        """The generated secret ``name``. Raises FileNotFoundError, saying what to do, where set-up has not run."""
        path = self.secrets / name
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: run `make setup`")
        return path.read_text().strip()


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()  # type: ignore[call-arg]
