"""Every figure of the project on one page: what is measured, what is asked for, what others reach.

``registry`` names the figures, ``record`` takes them down while a benchmark or a test measures,
``run`` runs the parts, ``page`` and ``pictures`` show what was measured, ``compare`` holds a second
run against the first one.
"""
