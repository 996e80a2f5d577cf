"""Airflow's LocalExecutor, which ends with its scheduler where a worker of it was killed.

A worker that is killed between taking a task off the queue and starting it leaves the task in ``queued`` for ever:
Airflow asks executors to revoke such tasks, and LocalExecutor has no ``revoke_task``. One that is killed while it waits
takes the lock of the queue with it, and no worker gets a task any more. What a killed worker held nobody can know, so
the scheduler ends at once and is started anew: that path a killed scheduler takes too, and it leaves nothing undone.
"""

from __future__ import annotations

import os

from airflow.executors import local_executor


class LocalExecutor(local_executor.LocalExecutor):
    """Workers as forks of one process; the death of one is the death of all."""

    def _check_workers(self) -> None:
        killed = {pid: one.exitcode for pid, one in self.workers.items() if not one.is_alive() and one.exitcode}
        if killed:
            self.log.critical("workers were killed (%s): the scheduler ends, and is started anew", killed)
            os._exit(1)
        super()._check_workers()
