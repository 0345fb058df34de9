"""The command ``python -m bench``, in the manner of ``scheduler-repo``: its errors, signals and output."""
