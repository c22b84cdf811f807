"""Trainings as jobs: addressed by their content, run once, resumed from their last epoch whatever killed them.

``spec`` is what a job is, ``job`` runs it, ``store`` keeps it, ``runner`` orders many, ``executors`` have the
processes.
"""
