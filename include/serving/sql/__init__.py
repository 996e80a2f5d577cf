"""SQL for people and BI tools: silver and gold behind a read-only Flight SQL endpoint (docs/sql.md)."""
