package main

import (
	"context"
	"fmt"
	"math"
	"strings"
)

// cost is the CPU time, in seconds, that the server takes for one deed where
// there are size things.
type cost func(ctx context.Context, b *bench, size int) (float64, error)

// sizing chooses three sizes, smallest first.
type sizing func(b *bench) []int

// stocks are the sizes of the stocks of images.
func stocks(b *bench) []int { return b.sizes }

// exactly are sizes that do not follow those of the run.
func exactly(sizes ...int) sizing { return func(*bench) []int { return sizes } }

// flat measures what must not depend on the size: its value is the cost at the
// largest size to that at the smallest. The sizes take turns; of each the round
// with the least counts.
func flat(sizes sizing, c cost) func(context.Context, *bench) (reading, error) {
	return growth(growthRounds, sizes, c, series.ratio)
}

// once is flat for what can be done once, or is a mean already.
func once(sizes sizing, c cost) func(context.Context, *bench) (reading, error) {
	return growth(1, sizes, c, series.ratio)
}

// linear measures what may grow with the size and no faster: its value is the
// power of the size that the cost follows, from the middle size to the largest.
func linear(sizes sizing, c cost) func(context.Context, *bench) (reading, error) {
	return growth(1, sizes, c, series.exponent)
}

// growthRounds is how often what must not grow is measured.
const growthRounds = 3

func growth(rounds int, sizes sizing, c cost, value func(series) float64) func(context.Context, *bench) (reading, error) {
	return func(ctx context.Context, b *bench) (reading, error) {
		s := series{sizes: sizes(b)}
		s.costs = make([]float64, len(s.sizes))
		for round := range rounds {
			for i, size := range s.sizes {
				x, err := c(ctx, b, size)
				if err != nil {
					return reading{}, fmt.Errorf("with %d: %w", size, err)
				}
				if x = max(x, leastCost); round == 0 || x < s.costs[i] {
					s.costs[i] = x
				}
			}
		}
		return reading{value: value(s), detail: s.String() + "; " + load()}, nil
	}
}

// leastCost stands for what was too little to be measured, in seconds.
const leastCost = 1e-6

// series is what something cost at some sizes, in CPU seconds.
type series struct {
	sizes []int
	costs []float64
}

// ratio is the cost at the largest size to that at the smallest.
func (s series) ratio() float64 { return s.costs[len(s.costs)-1] / s.costs[0] }

// exponent is the power of the size that the cost follows between the two
// largest sizes, where what is paid in any case counts least: 1 is linear.
func (s series) exponent() float64 {
	n := len(s.sizes)
	return math.Log(s.costs[n-1]/s.costs[n-2]) / math.Log(float64(s.sizes[n-1])/float64(s.sizes[n-2]))
}

func (s series) String() string {
	words := make([]string, len(s.sizes))
	for i, size := range s.sizes {
		words[i] = count(size) + ": " + duration(s.costs[i])
	}
	return strings.Join(words, ", ")
}

// count prints a number, a large one in groups of three digits.
func count(n int) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	text := ""
	for ; n >= 1000; n /= 1000 {
		text = fmt.Sprintf(" %03d", n%1000) + text
	}
	return fmt.Sprint(n) + text
}

// duration prints seconds in the unit that suits them.
func duration(seconds float64) string {
	switch {
	case seconds < 1e-3:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}
