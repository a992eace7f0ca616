"""The part of a run's report that is a forecaster's own."""


def sections(task, model, facts, data, options):
    """None yet."""
    return []
