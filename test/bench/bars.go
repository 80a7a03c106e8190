package main

import (
	"context"
	"fmt"
	"math"
)

// bars are all promises, in the order in which they are measured.
var bars = []bar{
	{
		name:    "calibration-repeats",
		what:    "CPU time of one calibration loop to another's, as a distance from 1: how far a ratio of this run can be trusted",
		limit:   0.25,
		measure: calibrationRepeats,
	},
}

func calibrationRepeats(_ context.Context, b *bench) (reading, error) {
	first, err := b.calibration()
	if err != nil {
		return reading{}, err
	}
	second, err := (&bench{}).calibration()
	if err != nil {
		return reading{}, err
	}
	return reading{value: math.Abs(second/first - 1), detail: fmt.Sprintf("%.3f s and %.3f s", first, second)}, nil
}
