"""Flags readings that do not fit their series: a streaming robust z-score.

Centre and scale follow the series by exponential steps whose size is clipped (Huber's influence
function with k = 3), so that an outlier moves them no further than three scales do. The score is
``|value - centre| / scale``; the scale is the mean absolute deviation times 1.2533, which estimates
a normal series' standard deviation. After 60 readings in a row beyond the clipping the series is
taken to have moved, and learnt anew. State lives in this process only: after a start each series
learns anew before it flags.
"""

from typing import Final

METHOD: Final = "robust_z_score"
WARM_UP_READINGS: Final = 30
LEARNING_RATE: Final = 0.02
FLAG_SCORE: Final = 6.0
CLIP_SCALES: Final = 3.0
RELEARN_READINGS: Final = 60
SCORE_MAX: Final = 1e9
VALUE_MAX: Final = 1e150
DEVIATION_TO_SIGMA: Final = 1.2533
USUAL_DEVIATIONS: Final = CLIP_SCALES * DEVIATION_TO_SIGMA
RELATIVE_FLOOR: Final = 1e-3
ABSOLUTE_FLOOR: Final = 1e-9


class Detector:
    """The state of one series."""

    __slots__ = ("centre", "count", "deviation", "run", "warm")

    def __init__(self) -> None:
        self.centre = 0.0
        self.deviation = 0.0
        self.count = 0
        self.run = 0
        self.warm = False  # past the warm-up and without an outlier just before

    def observe(self, value: float) -> float:
        """Return the score of ``value`` against what came before (0.0 while warming up), then learn
        from it."""
        if not -VALUE_MAX < value < VALUE_MAX:
            value = VALUE_MAX if value > 0 else -VALUE_MAX
        count = self.count
        self.count = count + 1
        if count == 0:
            self.centre = value
            self.deviation = 0.0
            return 0.0
        centre = self.centre
        difference = value - centre
        distance = difference if difference >= 0 else -difference
        if count < WARM_UP_READINGS:
            rate = 1.0 / (count + 1)
            self.centre = centre + rate * difference
            self.deviation += rate * (distance - self.deviation)
            return 0.0
        floor = RELATIVE_FLOOR * (centre if centre >= 0 else -centre) + ABSOLUTE_FLOOR
        deviation = self.deviation
        scale = DEVIATION_TO_SIGMA * (max(floor, deviation))
        limit = CLIP_SCALES * scale
        if distance > limit:
            self.warm = False
            score = distance / scale
            self.centre = centre + LEARNING_RATE * (limit if difference > 0 else -limit)
            self.deviation = deviation + LEARNING_RATE * (limit - deviation)
            self.run += 1
            if self.run >= RELEARN_READINGS:
                self.count = self.run = 0
            return min(SCORE_MAX, score)
        self.run = 0
        self.warm = True
        self.centre = centre + LEARNING_RATE * difference
        self.deviation = deviation + LEARNING_RATE * (distance - deviation)
        return distance / scale

    def expected_range(self) -> tuple[float, float]:
        """Return the values between which a reading would not be flagged now."""
        floor = RELATIVE_FLOOR * abs(self.centre) + ABSOLUTE_FLOOR
        reach = FLAG_SCORE * DEVIATION_TO_SIGMA * max(self.deviation, floor)
        return self.centre - reach, self.centre + reach
