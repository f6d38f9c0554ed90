"""From arrival to answer: admit, window, infer, place, commit, publish, settle. `pipeline.py` is the whole way."""
