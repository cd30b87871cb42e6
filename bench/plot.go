package bench

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Plot is a diagram of curves over a size that grows by powers of ten, both axes
// logarithmic.
type Plot struct {
	Title  string
	X, Y   string // what the axes are of
	Curves []Curve
}

// Curve is figures measured at some sizes.
type Curve struct {
	Name string
	X    []float64
	Y    []Series // at each X; median and spread are drawn
}

// The picture's geometry, in pixels.
const (
	plotWidth, plotHeight     = 720, 440
	plotLeft, plotRight       = 70, 50
	plotTop, plotBottom       = 50, 100
	plotInnerW, plotInnerH    = plotWidth - plotLeft - plotRight, plotHeight - plotTop - plotBottom
	plotInk, plotGrid, plotBg = "#333333", "#dddddd", "#ffffff"
)

// plotColours are told apart with all common kinds of colour blindness (Okabe and
// Ito), and the curves by their marks too.
var plotColours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// SVG returns the picture as a document of its own. The same figures give the same
// bytes.
func (p *Plot) SVG() []byte {
	x0, x1, y0, y1, ok := p.bounds()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" fill="%s">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight, plotInk)
	fmt.Fprintf(&b, `<title>%s</title>`+"\n", escape(p.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="%s"/>`+"\n", plotWidth, plotHeight, plotBg)
	fmt.Fprintf(&b, `<text x="%d" y="26" font-size="15">%s</text>`+"\n", plotLeft, escape(p.Title))
	if !ok {
		fmt.Fprintf(&b, `<text x="%d" y="%d">nothing was measured</text>`+"\n</svg>\n", plotLeft, plotHeight/2)
		return []byte(b.String())
	}
	at := func(x, y float64) (float64, float64) {
		return plotLeft + plotInnerW*(math.Log10(x)-x0)/(x1-x0), plotTop + plotInnerH*(y1-math.Log10(y))/(y1-y0)
	}
	p.axes(&b, at, x0, x1, y0, y1)
	for i := range p.Curves {
		p.Curves[i].draw(&b, at, plotColours[i%len(plotColours)], i)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// bounds returns the powers of ten that hold all there is. ok is false if that is
// nothing.
func (p *Plot) bounds() (x0, x1, y0, y1 float64, ok bool) {
	x0, y0 = math.Inf(1), math.Inf(1)
	x1, y1 = math.Inf(-1), math.Inf(-1)
	for _, c := range p.Curves {
		for i, x := range c.X {
			low, high := c.Y[i].Spread()
			if x <= 0 || math.IsNaN(low) || high <= 0 {
				continue
			}
			x0, x1 = min(x0, math.Log10(x)), max(x1, math.Log10(x))
			y0, y1 = min(y0, math.Log10(max(low, 1))), max(y1, math.Log10(high))
			ok = true
		}
	}
	x0, x1 = math.Floor(x0), math.Ceil(x1)
	y0, y1 = math.Floor(y0), math.Ceil(y1)
	return x0, max(x1, x0+1), y0, max(y1, y0+1), ok
}

// axes draws the grid, with finer lines where there is room, and names it.
func (p *Plot) axes(b *strings.Builder, at func(x, y float64) (float64, float64), x0, x1, y0, y1 float64) {
	line := func(xa, ya, xb, yb float64, colour string) {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", xa, ya, xb, yb, colour)
	}
	for e := x0; e <= x1; e++ {
		x, bottom := at(math.Pow(10, e), math.Pow(10, y0))
		line(x, plotTop, x, bottom, plotGrid)
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, bottom+18, count(int(math.Pow(10, e)+0.5)))
	}
	steps := []float64{1}
	if y1-y0 <= 3 {
		steps = []float64{1, 2, 5}
	}
	for e := y0; e <= y1; e++ {
		for _, step := range steps {
			v := step * math.Pow(10, e)
			if math.Log10(v) > y1+1e-9 {
				continue
			}
			x, y := at(math.Pow(10, x0), v)
			line(x, y, plotWidth-plotRight, y, plotGrid)
			fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="end">%g</text>`+"\n", x-6, y+4, v)
		}
	}
	left, bottom := at(math.Pow(10, x0), math.Pow(10, y0))
	line(left, plotTop, left, bottom, plotInk)
	line(left, bottom, plotWidth-plotRight, bottom, plotInk)
	fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="middle">%s</text>`+"\n", plotLeft+plotInnerW/2, bottom+40, escape(p.X))
	fmt.Fprintf(b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotTop+plotInnerH/2, escape(p.Y))
}

// draw draws the curve through the medians, with the spread of each, and its place
// in the legend.
func (c *Curve) draw(b *strings.Builder, at func(x, y float64) (float64, float64), colour string, index int) {
	var path []string
	for i, x := range c.X {
		low, high := c.Y[i].Spread()
		if x <= 0 || math.IsNaN(low) || high <= 0 {
			continue
		}
		px, py := at(x, max(c.Y[i].Median(), 1))
		_, top := at(x, max(high, 1))
		_, bottom := at(x, max(low, 1))
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-opacity="0.5" stroke-width="3"/>`+"\n", px, top, px, bottom, colour)
		mark(b, px, py, colour, index)
		path = append(path, fmt.Sprintf("%.1f,%.1f", px, py))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), colour)
	x, y := float64(plotLeft+index%2*plotInnerW/2), float64(plotHeight-36+index/2*18)
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="2"/>`+"\n", x, y, x+28, y, colour)
	mark(b, x+14, y, colour, index)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", x+36, y+4, escape(c.Name))
}

// mark draws a curve's mark.
func mark(b *strings.Builder, x, y float64, colour string, index int) {
	switch index % 3 {
	case 0:
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", x, y, colour)
	case 1:
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="8" height="8" fill="%s"/>`+"\n", x-4, y-4, colour)
	default:
		fmt.Fprintf(b, `<polygon points="%.1f,%.1f %.1f,%.1f %.1f,%.1f" fill="%s"/>`+"\n", x, y-5, x+5, y+4, x-5, y+4, colour)
	}
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
