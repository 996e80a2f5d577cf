"""The services of one installation: set-up, start, watch, stop.

``python -m include.services up|down|status|setup`` is the command line; from Python the same are
:func:`include.services.control.up`, :func:`include.services.control.down` and
:func:`include.services.environment.environment`. Importing this package imports nothing:
:mod:`include.services.bootstrap` runs before anything is installed.
"""
