"""What a run costs before it starts: pictures, steps, time, memory, disk, money, and what to change so that it fits."""
