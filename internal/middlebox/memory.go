package middlebox

import (
	"bytes"
	"io"
	"net/http"
)

// memory is an answer that was kept whole.
type memory struct {
	status int
	header http.Header
	body   []byte
}

func (m memory) response() *http.Response {
	return &http.Response{
		StatusCode:    m.status,
		Header:        m.header.Clone(),
		Body:          io.NopCloser(bytes.NewReader(m.body)),
		ContentLength: int64(len(m.body)),
	}
}

// remember keeps an answer for Cache and StaleEvery, and returns the one to
// deliver.
func (p *Proxy) remember(number int, out *request, resp *http.Response, f *Profile) (*http.Response, error) {
	caches := f.Cache && out.method == http.MethodGet && resp.StatusCode == http.StatusOK
	if !caches && f.StaleEvery == 0 {
		return resp, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	now := memory{status: resp.StatusCode, header: resp.Header, body: body}
	old, known := p.swap(out.method+" "+out.url, now)
	if known && every(number, f.StaleEvery) {
		p.strike("stale")
		return old.response(), nil
	}
	return now.response(), nil
}

func (p *Proxy) swap(key string, now memory) (old memory, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old, known = p.memory[key]
	p.memory[key] = now
	return old, known
}

func (p *Proxy) recall(key string) (memory, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, known := p.memory[key]
	return m, known
}
