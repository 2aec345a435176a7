package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// The picture, in pixels.
const (
	cellWidth  = 8.0
	lineHeight = 18.0
	border     = 16.0
	bar        = 34.0 // at the top of the window
)

// drawing is the frames one after the other as an SVG. Where nothing moves, the last one is seen.
func drawing(frames []frame) []byte {
	most, all := 0, 0.0
	for _, f := range frames {
		most, all = max(most, len(f.lines)), all+f.seconds
	}
	width, height := 2*border+columns*cellWidth, bar+border+float64(most)*lineHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\">\n", width, height, width, height)
	b.WriteString("<!-- made by make screenshots -->\n<title>jobcontrol run and jobcontrol why in a terminal</title>\n<style>\n")
	b.WriteString("text { font: 13px ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; fill: #cdd9e5; white-space: pre }\n")
	b.WriteString(".b { font-weight: bold }\n.f { opacity: .6 }\n")
	begin := 0.0
	for i, f := range frames {
		from, to := 100*begin/all, 100*(begin+f.seconds)/all
		begin += f.seconds
		shown := "visible"
		if i < len(frames)-1 {
			shown = "hidden"
		}
		fmt.Fprintf(&b, "#f%d { visibility: %s; animation: k%d %gs step-end infinite }\n@keyframes k%d { ", i, shown, i, all, i)
		if i > 0 {
			b.WriteString("0% { visibility: hidden } ")
		}
		fmt.Fprintf(&b, "%.2f%% { visibility: visible } ", from)
		if i < len(frames)-1 {
			fmt.Fprintf(&b, "%.2f%% { visibility: hidden } ", to)
		}
		b.WriteString("}\n")
	}
	b.WriteString("@media (prefers-reduced-motion) { g { animation: none !important } }\n</style>\n")
	fmt.Fprintf(&b, "<rect width=\"%g\" height=\"%g\" rx=\"8\" fill=\"#1c2128\"/>\n", width, height)
	for i, colour := range []string{"#f47067", "#daaa3f", "#57ab5a"} {
		fmt.Fprintf(&b, "<circle cx=\"%g\" cy=\"17\" r=\"6\" fill=\"%s\"/>\n", border+6+20*float64(i), colour)
	}
	for i, f := range frames {
		fmt.Fprintf(&b, "<g id=\"f%d\">\n", i)
		for y, l := range f.lines {
			for x := 0; x < len(l); {
				end := x
				for end < len(l) && l[end].style == l[x].style {
					end++
				}
				piece(&b, l[x:end], x, y)
				x = end
			}
		}
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// piece draws characters of one style. Each word has its place, whatever the font.
func piece(b *bytes.Buffer, cells []cell, x, y int) {
	for i := 0; i < len(cells); {
		if cells[i].r == ' ' {
			i++
			continue
		}
		end := i
		for end < len(cells) && (cells[end].r != ' ' || end+1 < len(cells) && cells[end+1].r != ' ') {
			end++
		}
		class := ""
		if cells[i].bold {
			class += " b"
		}
		if cells[i].faint {
			class += " f"
		}
		if class != "" {
			class = " class=\"" + class[1:] + "\""
		}
		fill := ""
		if cells[i].colour != "" {
			fill = " style=\"fill:" + cells[i].colour + "\""
		}
		fmt.Fprintf(b, "<text x=\"%g\" y=\"%g\" textLength=\"%g\"%s%s>", border+float64(x+i)*cellWidth, bar+float64(y+1)*lineHeight-5, float64(end-i)*cellWidth, class, fill)
		_ = xml.EscapeText(b, []byte(textOf(cells[i:end]))) // to a buffer
		b.WriteString("</text>\n")
		i = end
	}
}
