"""Readers: one module per format on disk, each with ``matches(path)`` and ``read(path)``.

``gearnn.data.load_data`` is the door; nothing outside ``gearnn.data`` needs to import from here.
"""
