"""New sources and use cases from templates, a partition through all its stages, and how to remove what is not wanted.

``make source`` and ``make use-case`` write new files only. ``make night`` runs one partition on this machine, without
Airflow, by the functions that the tasks call. ``make remove`` says first what would go.
"""
