package layout

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// MaxPixels is how large a picture of [Placed.PNG] may be; a larger drawing is made smaller.
const MaxPixels = 40_000_000

// PNG writes the drawing as a picture, at twice the size in pixels where that fits
// into [MaxPixels]. The font is Go Regular: it has Latin, Greek and Cyrillic
// letters; others are drawn as boxes (SVG shows them all).
func (p *Placed) PNG(w io.Writer) error {
	legend, height := p.legend()
	w0, h0 := p.width(), p.H+height
	c, err := newCanvas(w0, h0)
	if err != nil {
		return err
	}
	for _, line := range p.Lines {
		c.line(line, "#888888")
		a := arrow(line)
		c.fill(a[:], "#666666")
	}
	for i := range p.Nodes {
		n, b := &p.Nodes[i], p.Boxes[i]
		border, stroke := 0.8, "#333333"
		if n.Current {
			border, stroke = 3, "#000000"
		}
		c.round(Box{b.X - border/2, b.Y - border/2, b.W + border, b.H + border}, 4+border/2, stroke)
		c.round(Box{b.X + border/2, b.Y + border/2, b.W - border, b.H - border}, 4-border/2, n.Fill)
		label, note := n.baselines(&b)
		c.text(c.label, n.label(), b.X+b.W/2, label, true, ink(n.Fill))
		if n.Note != "" {
			c.text(c.note, n.note(), b.X+b.W/2, note, true, ink(n.Fill))
		}
	}
	c.legend(legend)
	return c.encode(w)
}

func face(size float64) (font.Face, error) {
	f, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72, Hinting: font.HintingNone})
}

// canvas draws in the drawing's own coordinates. One goroutine owns it.
type canvas struct {
	scale       float64
	img         *image.RGBA
	raster      *vector.Rasterizer
	label, note font.Face
}

// newCanvas is a white picture for a drawing of the given size.
func newCanvas(width, height float64) (*canvas, error) {
	scale := min(2, math.Sqrt(MaxPixels/(width*height)))
	c := &canvas{scale: scale, img: image.NewRGBA(image.Rect(0, 0, int(math.Ceil(width*scale)), int(math.Ceil(height*scale))))}
	draw.Draw(c.img, c.img.Bounds(), image.White, image.Point{}, draw.Src)
	c.raster = vector.NewRasterizer(1, 1)
	var err error
	if c.label, err = face(textSize * scale); err != nil {
		return nil, err
	}
	c.note, err = face(noteSize * scale)
	return c, err
}

func (c *canvas) legend(legend []placedEntry) {
	for _, e := range legend {
		c.round(Box{e.X, e.Y, legendWidth, legendWidth}, 0, e.Fill)
		c.text(c.note, e.Text, e.X+legendWidth+5, e.Y+legendWidth-1, false, "#333333")
	}
}

// encode writes the picture.
func (c *canvas) encode(w io.Writer) error {
	return (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(w, c.img)
}

func paint(s string) image.Image {
	r, g, b := rgb(s)
	return image.NewUniform(color.RGBA{r, g, b, 255})
}

// fill fills a closed outline. The rasterizer works on the part of the picture that the outline covers.
func (c *canvas) fill(outline []Point, fill string) {
	x0, y0, x1, y1 := math.MaxFloat64, math.MaxFloat64, -math.MaxFloat64, -math.MaxFloat64
	for _, q := range outline {
		x0, y0, x1, y1 = min(x0, q.X), min(y0, q.Y), max(x1, q.X), max(y1, q.Y)
	}
	area := image.Rect(int(math.Floor(x0*c.scale)), int(math.Floor(y0*c.scale)), int(math.Ceil(x1*c.scale))+1, int(math.Ceil(y1*c.scale))+1)
	c.raster.Reset(area.Dx(), area.Dy())
	for k, q := range outline {
		x, y := float32(q.X*c.scale-float64(area.Min.X)), float32(q.Y*c.scale-float64(area.Min.Y))
		if k == 0 {
			c.raster.MoveTo(x, y)
		} else {
			c.raster.LineTo(x, y)
		}
	}
	c.raster.ClosePath()
	c.raster.Draw(c.img, area, paint(fill), image.Point{})
}

// round fills a box with round corners.
func (c *canvas) round(b Box, radius float64, fill string) {
	radius = max(0, min(radius, b.W/2, b.H/2))
	var outline []Point
	for k, corner := range []Point{
		{b.X + b.W - radius, b.Y + radius},
		{b.X + b.W - radius, b.Y + b.H - radius},
		{b.X + radius, b.Y + b.H - radius},
		{b.X + radius, b.Y + radius},
	} {
		for step := range 5 {
			angle := (float64(k)-1)*math.Pi/2 + float64(step)*math.Pi/8
			outline = append(outline, Point{corner.X + radius*math.Cos(angle), corner.Y + radius*math.Sin(angle)})
		}
	}
	c.fill(outline, fill)
}

// line draws the line that [path] describes, a little more than a pixel wide.
func (c *canvas) line(points []Point, stroke string) {
	const half = 0.6
	track := []Point{points[0]}
	for k := 1; k < len(points); k++ {
		p, q := points[k-1], points[k]
		if p.Y == q.Y {
			track = append(track, q)
			continue
		}
		m := (p.X + q.X) / 2
		const steps = 20
		for s := 1; s <= steps; s++ {
			t := float64(s) / steps
			u := 1 - t
			track = append(track, Point{
				u*u*u*p.X + 3*u*u*t*m + 3*u*t*t*m + t*t*t*q.X,
				u*u*u*p.Y + 3*u*u*t*p.Y + 3*u*t*t*q.Y + t*t*t*q.Y,
			})
		}
	}
	for k := 1; k < len(track); k++ {
		p, q := track[k-1], track[k]
		dx, dy := q.X-p.X, q.Y-p.Y
		length := math.Hypot(dx, dy)
		if length == 0 {
			continue
		}
		nx, ny := -dy/length*half, dx/length*half
		c.fill([]Point{{p.X + nx, p.Y + ny}, {q.X + nx, q.Y + ny}, {q.X - nx, q.Y - ny}, {p.X - nx, p.Y - ny}}, stroke)
	}
}

// text draws a text with its baseline at y; x is its middle or its left end.
func (c *canvas) text(f font.Face, s string, x, y float64, middle bool, ink string) {
	d := font.Drawer{Dst: c.img, Src: paint(ink), Face: f}
	left := fixed.Int26_6(x * c.scale * 64)
	if middle {
		left -= d.MeasureString(s) / 2
	}
	d.Dot = fixed.Point26_6{X: left, Y: fixed.Int26_6(y * c.scale * 64)}
	d.DrawString(s)
}
