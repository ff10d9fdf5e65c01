package httpclient

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// MaxExcerpt is how many bytes of a foreign answer's body an AnswerError keeps.
const MaxExcerpt = 120

// AnswerError is an answer that did not come from a bridge: a middlebox's page,
// or another service's answer.
type AnswerError struct {
	Status      int
	ContentType string
	Location    string // of a redirect; empty: none
	Body        []byte // its beginning, MaxExcerpt bytes at most
	retryAfter  string // the header field
}

// Foreign returns the AnswerError of resp, whose body begins with body.
func Foreign(resp *http.Response, body []byte) *AnswerError {
	return &AnswerError{
		Status:      resp.StatusCode,
		ContentType: resp.Header.Get("Content-Type"),
		Location:    resp.Header.Get("Location"),
		Body:        body[:min(len(body), MaxExcerpt)],
		retryAfter:  resp.Header.Get("Retry-After"),
	}
}

// RetryAfter returns the answer's Retry-After, 0 if it has none.
func (e *AnswerError) RetryAfter() time.Duration {
	if seconds, err := strconv.Atoi(e.retryAfter); err == nil && seconds > 0 {
		return time.Duration(min(seconds, math.MaxInt32)) * time.Second
	}
	if at, err := http.ParseTime(e.retryAfter); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// Error implements error.
func (e *AnswerError) Error() string {
	s := fmt.Sprintf("foreign answer: status %d, content-type %q", e.Status, e.ContentType)
	if e.Location != "" {
		s += fmt.Sprintf(", redirect to %q", e.Location)
	}
	return s + fmt.Sprintf(", body begins %q", e.Body)
}
