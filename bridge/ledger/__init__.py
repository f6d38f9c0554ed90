"""The ledger: what was accepted, what became of it, and whether the two add up.

* `account.py`: what the bridge and an agent say of one series, and their bytes;
* `proof.py`: whether it adds up, and which rows do not;
* `book.py`, `tally.py`: what the bridge counts while it runs; `earlier.py`: whole windows that it answered before;
  `source.py`: its series as accounts; `desk.py`: answers operators;
* `ask.py`, `command.py`, `report.py`: `inference-bridge ledger`.
"""
