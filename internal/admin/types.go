package admin

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Source is the bridge that is shown. Its methods may be called by any goroutine.
type Source interface {
	Overview() Overview
	Sessions(Query) Sessions
	// Session returns false for a session that there is not, with what is known of
	// its end, if it was one.
	Session(id string) (SessionDetails, *Ended, bool)
	// Disconnect ends a session. It reports false if there is none.
	Disconnect(id string) bool
}

// Overview is what a bridge is doing.
type Overview struct {
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Now      time.Time `json:"now"`
	Ready    bool      `json:"ready"`
	Draining bool      `json:"draining"`
	// Actions are those that the listener takes: "disconnect", "drain".
	Actions []string `json:"actions"`

	Sessions   Level `json:"sessions"`
	RPCs       Level `json:"rpcs"`
	Buffered   Level `json:"buffered_bytes"`
	Principals int   `json:"principals"`

	Links         map[string]int    `json:"links"` // by transport
	ReceivedBytes map[string]uint64 `json:"received_bytes"`
	SentBytes     map[string]uint64 `json:"sent_bytes"`

	SessionsOpened uint64 `json:"sessions_opened"`
	RPCsCompleted  uint64 `json:"rpcs_completed"`
	RPCsFailed     uint64 `json:"rpcs_failed"` // with a status that is a server's failure
	Resumes        uint64 `json:"resumes"`
	FramesResent   uint64 `json:"frames_resent"`

	Backends []Backend `json:"backends"`
	Refusals []Refusal `json:"refusals"`
	Ended    []Ended   `json:"ended"` // the latest sessions that are over, the latest first
	Cluster  *Cluster  `json:"cluster,omitempty"`
}

// Level is a gauge and its limit.
type Level struct {
	Value int64 `json:"value"`
	Limit int64 `json:"limit"`
}

// Backend is one gRPC target.
type Backend struct {
	Name     string         `json:"name"`
	Target   string         `json:"target,omitempty"`
	Services []string       `json:"services"`
	Ready    bool           `json:"ready"`
	Status   string         `json:"status"`
	States   map[string]int `json:"states"`   // channels in each state
	Channels []Channel      `json:"channels"` // the first ones
}

// Channel is a gRPC channel to a backend.
type Channel struct {
	ID      uint64 `json:"id"`
	State   string `json:"state"`
	Error   string `json:"error,omitempty"`
	Streams int    `json:"streams"`
	Limit   int    `json:"limit"`
}

// Refusal counts what was refused for one reason.
type Refusal struct {
	What   string `json:"what"` // "batch", "rpc", "request"
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Cluster is what a bridge knows of the others.
type Cluster struct {
	Name  string `json:"name"` // the bridge's own
	State string `json:"state"`
	Nodes []Node `json:"nodes"`
}

// Node is another bridge.
type Node struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Sessions int       `json:"sessions"`
	Links    int       `json:"links"` // that are forwarded to it
}

// Session is one session in a list.
type Session struct {
	ID        string    `json:"id"`
	Principal string    `json:"principal"`
	Remote    string    `json:"remote"`
	Client    string    `json:"client"`
	Opened    time.Time `json:"opened"`
	Transport string    `json:"transport"` // "ws", "longpoll", or "none" while it has no link
	Away      float64   `json:"away_seconds,omitempty"`
	RTT       float64   `json:"rtt_seconds,omitempty"`
	RPCs      int       `json:"rpcs"`
	Buffered  int       `json:"buffered_bytes"`
	Resumes   uint64    `json:"resumes"`

	ReceivedBytes uint64  `json:"received_bytes"`
	SentBytes     uint64  `json:"sent_bytes"`
	ReceivedRate  float64 `json:"received_rate"` // bytes per second
	SentRate      float64 `json:"sent_rate"`
}

// NoTransport is the Transport of a session that has no link.
const NoTransport = "none"

// SessionDetails is all that is known of a session.
type SessionDetails struct {
	Session
	Window     float64    `json:"window_seconds"`      // how long it lives without a link
	PathRate   float64    `json:"path_rate,omitempty"` // bytes per second, as measured of late towards the client
	Expires    *time.Time `json:"credential_expires,omitempty"`
	Links      int        `json:"links"`
	Draining   bool       `json:"draining,omitempty"`
	RPCsOpened uint64     `json:"rpcs_opened"`
	Open       []RPC      `json:"open_rpcs"` // the first ones
	Events     []Event    `json:"events"`    // the latest, oldest first
}

// RPC is an open RPC.
type RPC struct {
	Stream   uint64     `json:"stream"`
	Method   string     `json:"method"`
	Began    time.Time  `json:"began"`
	Deadline *time.Time `json:"deadline,omitempty"`
}

// Event is something that happened to a session.
type Event struct {
	At     time.Time `json:"at"`
	What   string    `json:"what"`
	Detail string    `json:"detail,omitempty"`
}

// Ended is a session that is over.
type Ended struct {
	ID        string    `json:"id"`
	Principal string    `json:"principal"`
	At        time.Time `json:"at"`
	Reason    string    `json:"reason"`
	Message   string    `json:"message"`
}

// Sessions is a page of a list of sessions.
type Sessions struct {
	Total    int       `json:"total"`   // of the bridge
	Matched  int       `json:"matched"` // by the query
	Sessions []Session `json:"sessions"`
}

// Query selects sessions.
type Query struct {
	Filter    string // part of an ID, a principal, an address or a client's release, in any case; empty: all
	Transport string // as in Session; empty: all
	Sort      string // one of Sorts
	Offset    int
	Limit     int
}

const (
	// DefaultLimit is how many sessions a page has.
	DefaultLimit = 100
	// MaxLimit is how many it may have.
	MaxLimit = 1000
	// maxOffset bounds what is kept to make a page.
	maxOffset = 10_000
)

// orders compare sessions; those that come first are less.
var orders = map[string]func(a, b Session) int{
	"age":       func(a, b Session) int { return a.Opened.Compare(b.Opened) },
	"newest":    func(a, b Session) int { return b.Opened.Compare(a.Opened) },
	"rtt":       func(a, b Session) int { return cmp.Compare(b.RTT, a.RTT) },
	"rate":      func(a, b Session) int { return cmp.Compare(b.ReceivedRate+b.SentRate, a.ReceivedRate+a.SentRate) },
	"rpcs":      func(a, b Session) int { return cmp.Compare(b.RPCs, a.RPCs) },
	"buffered":  func(a, b Session) int { return cmp.Compare(b.Buffered, a.Buffered) },
	"resumes":   func(a, b Session) int { return cmp.Compare(b.Resumes, a.Resumes) },
	"principal": func(a, b Session) int { return cmp.Compare(a.Principal, b.Principal) },
}

// Sorts are the values of Query.Sort: by age, the oldest first; by the newest; by
// any other, the highest first; by principal alphabetically.
var Sorts = []string{"newest", "age", "rtt", "rate", "rpcs", "buffered", "resumes", "principal"}

// Transports are the values of Query.Transport.
var Transports = []string{"ws", "longpoll", NoTransport}

// matches reports whether the query selects a session. Filter is in lower case.
func (q *Query) matches(s *Session) bool {
	if q.Transport != "" && q.Transport != s.Transport {
		return false
	}
	return q.Filter == "" || slices.ContainsFunc([]string{s.ID, s.Principal, s.Remote, s.Client}, func(text string) bool {
		return strings.Contains(strings.ToLower(text), q.Filter)
	})
}

// Selection makes a page of sessions that come in any order. It keeps no more than the
// page and what is before it, twice.
type Selection struct {
	query Query
	order func(a, b Session) int
	full  bool // the first ones in list are the best so far, in order, as many as the page needs
	list  Sessions
}

// NewSelection returns an empty page.
func NewSelection(q Query) *Selection {
	q.Filter = strings.ToLower(q.Filter)
	return &Selection{query: q, order: orders[cmp.Or(q.Sort, Sorts[0])]}
}

// Add adds a session, if the query selects it.
func (p *Selection) Add(s Session) {
	p.list.Total++
	if !p.query.matches(&s) {
		return
	}
	p.list.Matched++
	most := p.query.Offset + p.query.Limit
	if p.full && p.compare(s, p.list.Sessions[most-1]) > 0 {
		return
	}
	p.list.Sessions = append(p.list.Sessions, s)
	if len(p.list.Sessions) >= 2*most {
		slices.SortFunc(p.list.Sessions, p.compare)
		p.list.Sessions, p.full = p.list.Sessions[:most], true
	}
}

func (p *Selection) compare(a, b Session) int { return cmp.Or(p.order(a, b), cmp.Compare(a.ID, b.ID)) }

// Sessions returns the page.
func (p *Selection) Sessions() Sessions {
	slices.SortFunc(p.list.Sessions, p.compare)
	all := p.list.Sessions
	from := min(p.query.Offset, len(all))
	p.list.Sessions = slices.Clone(all[from:min(from+p.query.Limit, len(all))])
	if p.list.Sessions == nil {
		p.list.Sessions = []Session{}
	}
	return p.list
}
