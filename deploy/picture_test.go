package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

var picture = flag.String("picture", "", "draw the dashboard's panels into this PNG, after two minutes of load")

const (
	drawnFor  = 2 * time.Minute
	drawnStep = 2 * time.Second
	columns   = 3
	panelSize = 9 * vg.Centimeter
)

// drawBoard draws what each panel's queries gave over the last drawnFor, as a
// picture for the docs.
func drawBoard(t *testing.T, board dashboard, prometheus, file string) {
	t.Helper()
	time.Sleep(drawnFor) // a picture needs a past
	drawn := make([]*plot.Plot, len(board.Panels))
	for i, panel := range board.Panels {
		p, err := drawPanel(t.Context(), panel, prometheus)
		if err != nil {
			t.Fatalf("panel %q: %v", panel.Title, err)
		}
		drawn[i] = p
	}
	save(t, drawn, file)
}

// save writes plots into a PNG, in rows.
func save(t *testing.T, plots []*plot.Plot, file string) {
	t.Helper()
	rows := (len(plots) + columns - 1) / columns
	tiles := make([][]*plot.Plot, rows)
	for i := range tiles {
		tiles[i] = make([]*plot.Plot, columns)
	}
	for i, p := range plots {
		tiles[i/columns][i%columns] = p
	}
	img := vgimg.NewWith(vgimg.UseWH(panelSize*columns*1.4, panelSize*vg.Length(rows)*0.8), vgimg.UseDPI(72))
	pad := 4 * vg.Millimeter
	canvases := plot.Align(tiles, draw.Tiles{Rows: rows, Cols: columns, PadX: pad, PadY: pad, PadTop: pad, PadBottom: pad, PadLeft: pad, PadRight: pad}, draw.New(img))
	for i := range tiles {
		for j, p := range tiles[i] {
			if p != nil {
				p.Draw(canvases[i][j])
			}
		}
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(out); err != nil {
		t.Fatal(err)
	}
}

// units are what Grafana writes beside an axis.
var units = map[string]string{"reqps": "/s", "ops": "/s", "s": "s", "bytes": "bytes", "percentunit": "share"}

func drawPanel(ctx context.Context, panel panel, prometheus string) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = panel.Title
	p.X.Label.Text = "seconds ago"
	p.Y.Label.Text = units[panel.FieldConfig.Defaults.Unit]
	p.Y.Min = 0
	p.Legend.Top = true
	p.Legend.Left = true
	color := 0
	for _, target := range panel.Targets {
		series, err := askRange(ctx, prometheus, concrete(target.Expr))
		if err != nil {
			return nil, err
		}
		for _, one := range series {
			if len(series) > 3 && one.zero() {
				continue
			}
			line, err := plotter.NewLine(one.points)
			if err != nil {
				return nil, err
			}
			line.Color = plotutil.Color(color)
			line.Width = vg.Points(1.5)
			color++
			p.Add(line)
			p.Legend.Add(legend(target.LegendFormat, one.Metric), line)
		}
	}
	p.Y.Max = max(1.4*p.Y.Max, 0.01) // room for the legend
	p.Y.Min = 0
	return p, nil
}

var label = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend fills labels into a name as Grafana does.
func legend(format string, labels map[string]string) string {
	return label.ReplaceAllStringFunc(format, func(s string) string { return labels[label.FindStringSubmatch(s)[1]] })
}

// series is one line of a panel.
type series struct {
	Metric map[string]string
	Values [][2]any
	points plotter.XYs // seconds before now, value
}

// askRange returns what a query gave over the last drawnFor.
func askRange(ctx context.Context, prometheus, query string) ([]series, error) {
	now := time.Now()
	values := url.Values{
		"query": {query},
		"start": {strconv.FormatInt(now.Add(-drawnFor).Unix(), 10)},
		"end":   {strconv.FormatInt(now.Unix(), 10)},
		"step":  {strconv.Itoa(int(drawnStep.Seconds()))},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, prometheus+"/api/v1/query_range?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []series }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, errors.New(answer.Error)
	}
	for i := range answer.Data.Result {
		if err := answer.Data.Result[i].locate(now); err != nil {
			return nil, err
		}
	}
	return answer.Data.Result, nil
}

// zero reports whether nothing ever happened.
func (s *series) zero() bool {
	for _, p := range s.points {
		if p.Y != 0 {
			return false
		}
	}
	return true
}

// locate turns the values, pairs of a time and a number as text, into points.
// What has no value yet, NaN, has no point.
func (s *series) locate(now time.Time) error {
	for _, pair := range s.Values {
		at, _ := pair[0].(float64)
		text, _ := pair[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return err
		}
		if value == value {
			s.points = append(s.points, plotter.XY{X: at - float64(now.Unix()), Y: value})
		}
	}
	return nil
}
