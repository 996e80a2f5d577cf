"""The services of one installation: set-up, start, watch, stop.

``python -m include.services up|down|status|setup`` is the command line; :func:`include.services.environment.environment`,
:func:`include.services.control.up` and :func:`include.services.control.down` are the same from Python. Importing this
package imports the standard library only: :mod:`include.services.bootstrap` runs before anything is installed.
"""
