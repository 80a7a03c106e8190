package main

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// bars are all promises, in the order in which they are measured: the peak of
// memory comes after all loads of the server that they share.
func bars() []bar { return slices.Concat(loads, growths, audits, revocations, commands, rest) }

// loads are the bars about what one thing costs.
var loads = []bar{
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
}

// rest are the bars about the server as a whole, after all loads.
var rest = []bar{
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
		name:    "fault-sign",
		what:    "checks that failed after a system call failed while a batch or a statement was signed",
		limit:   0,
		unit:    "failed",
		measure: broke("TestSystemCallsSign"),
	},
	{
		name:    "power-cut",
		what:    "the same after the power was cut",
		limit:   0,
		unit:    "failed",
		measure: broke("TestPowerCut"),
	},
}

// Growth that is none, and growth that is that of the size: with room for what
// a measurement strays by.
const (
	flatLimit   = 1.5
	linearLimit = 1.2
)

// growths are the bars about what grows: first those about what must not depend
// on how much the server holds, then those about what may follow the size of
// what comes in and no more.
var growths = []bar{
	{
		name:    "manifest-get-growth",
		what:    "CPU of a GET of a manifest by digest, in a repository of so many images",
		limit:   flatLimit,
		measure: flat(stocks, getManifest),
	},
	{
		name:    "tag-get-growth",
		what:    "the same by tag",
		limit:   flatLimit,
		measure: flat(stocks, getTag),
	},
	{
		name:    "blob-get-growth",
		what:    "CPU of a GET of a small blob that all of so many images of the repository hold",
		limit:   flatLimit,
		measure: flat(stocks, getShared),
	},
	{
		name:    "tag-page-growth",
		what:    "CPU of a page of 100 tags from the middle of so many",
		limit:   flatLimit,
		measure: flat(stocks, listTags),
	},
	{
		name:    "push-beside-growth",
		what:    "CPU of a push of a small image until its verdict, to a repository of so many",
		limit:   flatLimit,
		measure: once(stocks, pushOne),
	},
	{
		name:    "affected-growth",
		what:    "CPU of the answer which images an advisory concerns: 20 of so many",
		limit:   flatLimit,
		measure: flat(stocks, affected),
	},
	{
		name:    "rejudge-growth",
		what:    "CPU of the load of a new advisory until the 20 images that it concerns are judged again, of so many",
		limit:   flatLimit,
		measure: once(stocks, rejudgeRare),
	},
	{
		name:    "rejudge-none-growth",
		what:    "CPU of the load of a new advisory about other versions of a package than so many images hold",
		limit:   flatLimit,
		measure: once(stocks, rejudgeNone),
	},
	{
		name:    "rejudge-images",
		what:    "CPU of the load of a new advisory until all of so many images that it concerns are judged again: exponent",
		limit:   linearLimit,
		measure: linear(touched, rejudgeMany),
	},
	{
		name:    "promote-closure",
		what:    "CPU of the promotion of an index of so many images with a statement about each: exponent",
		limit:   linearLimit,
		measure: linear(exactly(10, 100, 1000), promoteClosure),
	},
	{
		name:    "push-bytes",
		what:    "CPU of a push until the verdict, by MiB of its layer: exponent",
		limit:   linearLimit,
		measure: linear(exactly(4, 32, 256), pushBytes),
	},
	{
		name:    "push-files",
		what:    "the same by small files in its layer",
		limit:   linearLimit,
		measure: linear(exactly(1000, 10_000, 100_000), pushFiles),
	},
	{
		name:    "push-packages",
		what:    "the same by packages in its layer",
		limit:   linearLimit,
		measure: linear(exactly(100, 1000, 10_000), pushPackages),
	},
	{
		name:    "feed-load",
		what:    "CPU of the load of so many advisories where none are: exponent",
		limit:   linearLimit,
		measure: linear(exactly(1000, 10_000, 100_000), loadFeed),
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
