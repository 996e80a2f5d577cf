"""The services of one installation: set-up, start, watch, stop.

``python -m include.local up|down|status|setup`` is the command line; from Python the same are
:func:`include.local.control.up`, :func:`include.local.control.down` and
:func:`include.local.environment.environment`. Importing this package imports nothing:
:mod:`include.local.bootstrap` runs before anything is installed.
"""
