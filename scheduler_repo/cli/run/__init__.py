"""The work of ``scheduler-repo run``: the loops of several scaling groups in one process."""
