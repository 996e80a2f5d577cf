"""Ways back: backups of an installation, their check, and how one is put into an empty installation.

``objects`` keeps contents by their hash, ``manifest`` says what a backup is made of, ``databases`` dumps and restores
what Airflow and MLflow know, ``sealing`` encrypts secrets; ``making`` makes a backup and ``restoring`` puts it back.
"""
