"""The demo, run by ``make demo``: real flights on a sharded fleet, every answer checked.

Each file does one thing; ``run.py`` puts them in order and ``report.py`` prints.
"""
