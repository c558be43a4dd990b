"""Takes a while to import."""

import time

for _ in range(60):
    time.sleep(0.01)
