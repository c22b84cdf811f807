from .style import import_matplotlib as import_matplotlib
