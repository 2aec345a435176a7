package cli

import (
	"fmt"
	"math"
	"strings"
)

// colourDepth is how many colours a terminal has.
type colourDepth int

const (
	noColours colourDepth = iota
	basicColours
	cubeColours // 6 × 6 × 6 of them
	allColours
)

// colourDepthOf tells it from the environment.
func colourDepthOf(getenv func(string) string) colourDepth {
	switch c := getenv("COLORTERM"); {
	case c == "truecolor" || c == "24bit":
		return allColours
	case strings.Contains(getenv("TERM"), "256color"):
		return cubeColours
	}
	return basicColours
}

// bar is a progress bar of n columns for a part from 0 to 1, with its colour and
// without. It is full when, and only when, everything is done.
func (d colourDepth) bar(part float64, n int) (text, painted string) {
	done := int(part * float64(n))
	full, rest := strings.Repeat("━", done), strings.Repeat("─", n-done)
	if d == noColours {
		return full + rest, full + rest
	}
	if full != "" {
		painted = "\x1b[" + d.progress(part) + "m" + full + "\x1b[0m"
	}
	return full + rest, painted + d.faint(rest)
}

// faint is for what counts less.
func (d colourDepth) faint(text string) string {
	if d == noColours || text == "" {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}

// progress is JobControl's colour of a progress from 0 to 1, from red over yellow
// to green, as SGR numbers: hue 120° × part, saturation and value 0.8.
func (d colourDepth) progress(part float64) string {
	value, low := 0.8, 0.8*(1-0.8)
	r := low + (value-low)*min(1, 2-2*part)
	g := low + (value-low)*min(1, 2*part)
	switch d {
	case allColours:
		return fmt.Sprintf("38;2;%d;%d;%d", int(255*r), int(255*g), int(255*low))
	case cubeColours:
		// The six steps are 0, 95, 135, 175, 215, 255.
		step := func(v float64) int {
			if v *= 255; v >= 75 {
				return int(math.Round((v - 55) / 40))
			}
			return 0
		}
		return fmt.Sprintf("38;5;%d", 16+36*step(r)+6*step(g)+step(low))
	}
	return itoa(int64([]int{red, yellow, green}[min(2, int(3*part))]))
}
