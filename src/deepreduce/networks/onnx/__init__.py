"""ONNX files as networks: ``importer`` reads the file, ``builder`` collects layers, ``operators`` has one handler each.

``limits`` bounds what a file may make this process allocate before anything is built.
"""
