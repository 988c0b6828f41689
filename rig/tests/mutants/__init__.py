"""The mutant kit: deliberately broken split drivers, devices and media, which must all be seen.

Correct ones run beside them, with errors, unlinks, resets and lost links: they must raise no alarm.
``python -m rig.tests.mutants`` prints the score.
"""
