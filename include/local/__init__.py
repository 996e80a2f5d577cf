"""The services of one installation: set-up, start, watch, stop.

The command line is in ``include.cli``; from Python the same are :func:`include.local.control.up`,
:func:`include.local.control.down` and :func:`include.local.environment.environment`. Importing this package imports
nothing: :mod:`include.local.bootstrap` runs before anything is installed.
"""
