"""A day of carbon intensity, hour by hour: clean at noon, dirty in the evening."""

# fmt: off
DAY = [
    300, 280, 260, 240, 250, 270, 300, 320, 200, 150, 100, 90,
    80, 95, 120, 180, 260, 340, 380, 400, 390, 370, 350, 320,
]
# fmt: on
