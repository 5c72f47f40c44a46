package render_test

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/render"
)

func BenchmarkRender(b *testing.B) {
	r, err := render.New(render.Config{Format: render.XML, Template: `<a k="{{$key}}" v="{{$version}}"><n>{{.n}}</n>{{range .list}}<i>{{.}}</i>{{end}}</a>`})
	if err != nil {
		b.Fatal(err)
	}
	document := []byte(`{"n":12345678901234567890,"list":["a","b","<c>"]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Render(b.Context(), document, values()); err != nil {
			b.Fatal(err)
		}
	}
}
