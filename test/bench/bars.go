package main

import (
	"context"
	"fmt"
	"math"
)

// bars are all promises, in the order in which they are measured: the peak of
// memory comes last, because it is that of all loads before it.
var bars = []bar{
	{
		name:    "calibration-repeats",
		what:    "CPU time of one calibration loop to another's, as a distance from 1: how far a ratio of this run can be trusted",
		limit:   0.25,
		measure: calibrationRepeats,
	},
	{
		name:    "image-cpu",
		what:    "CPU of a push of an 8-layer Debian image until its verdict, to that of zot taking it and trivy pulling it from there",
		limit:   1.0,
		measure: imageRatio(func(d deed) float64 { return d.cpu }),
	},
	{
		name:    "image-wall",
		what:    "the same, wall time",
		limit:   0.8,
		measure: imageRatio(func(d deed) float64 { return d.wall }),
	},
	{
		name:    "next-of-family",
		what:    "wall time from the PUT of a manifest to its verdict, where one layer of 1 MB is new: median, scaled by how much slower than alone a calibration loop runs meanwhile",
		limit:   50,
		unit:    "ms",
		measure: nextOfFamily,
	},
	{
		name:    "upload-with-analysis",
		what:    "wall time of the uploads of the Debian image over 1 Gbit/s, analysed, to that of a sandbox",
		limit:   1.1,
		measure: uploadWithAnalysis,
	},
	{
		name:    "plain-push-cpu",
		what:    "CPU of pushes of blobs that are no layers, to distribution's; both durable, with TLS and tokens",
		limit:   1.0,
		measure: plainRatio(func(p plain) float64 { return p.push }),
	},
	{
		name:    "plain-pull-cpu",
		what:    "CPU of pulls of them, to distribution's",
		limit:   1.0,
		measure: plainRatio(func(p plain) float64 { return p.pull }),
	},
	{
		name:    "manifest-get-cpu",
		what:    "CPU of a GET of a manifest by digest, to zot's; both with TLS and tokens",
		limit:   0.6,
		measure: manifestGet,
	},
	{
		name:    "manifest-get-growth",
		what:    "CPU of that GET with 2 000 manifests in the repository, to that with 100",
		limit:   1.5,
		measure: manifestGrowth,
	},
	{
		name:    "peak-memory",
		what:    "the server's memory at its highest over all of the above but the sandbox's, with 57 000 advisories loaded (10^6 bytes)",
		limit:   250,
		unit:    "MB",
		measure: peakMemory,
	},
	{
		name:    "kill",
		what:    "checks that failed after kill -9 during pushes and promotions: fsck, acknowledged pushes, half-visible images",
		limit:   0,
		unit:    "failed",
		measure: broke("TestKill"),
	},
	{
		name:    "power-cut",
		what:    "the same after the power was cut",
		limit:   0,
		unit:    "failed",
		measure: broke("TestPowerCut"),
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
