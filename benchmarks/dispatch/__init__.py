"""How fast tasks get to their handlers, Barnabas beside Celery with Redis: in one run, on one machine, the same tasks."""
