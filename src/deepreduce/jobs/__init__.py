"""Trainings as jobs: addressed by their content, run once, resumed from their last epoch whatever killed them.

``spec`` is what a job is, ``job`` runs it, ``store`` keeps it, ``runner`` orders many, ``executors`` have the
processes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
