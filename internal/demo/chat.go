package demo

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// Limits of the chat, as demo.proto states them.
const (
	maxRoomName   = 40
	maxMemberName = 40
	maxSay        = 1_000
	maxMembers    = 100
	maxRooms      = 1_000
	maxBehind     = 64 // events that wait for one member
)

type chatStream = grpc.BidiStreamingServer[demopb.ChatRequest, demopb.ChatEvent]

// Chat runs one member's part. The goroutines that read and write the stream
// end with it: gRPC fails their calls once Chat has returned. Chat itself does
// not wait for them, since a member that reads nothing blocks the writer and has
// to be dropped all the same.
func (s *service) Chat(stream chatStream) error {
	join, err := recvJoin(stream)
	if err != nil {
		return err
	}
	m, err := s.chat.join(join.GetRoom(), join.GetName())
	if err != nil {
		return err
	}
	defer s.chat.leave(m)

	ended := make(chan error, 2) // one for each goroutine: neither ever waits
	go func() { ended <- s.chat.listen(m, stream) }()
	go func() { ended <- m.write(stream) }()
	select {
	case err := <-ended:
		return err
	case <-m.dropped:
		return m.behind()
	case <-stream.Context().Done():
		return status.FromContextError(stream.Context().Err()).Err()
	}
}

func recvJoin(stream chatStream) (*demopb.ChatRequest_Join, error) {
	in, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, status.Error(codes.InvalidArgument, "join: the first message must join a room, there was none")
	}
	if err != nil {
		return nil, err
	}
	join := in.GetJoin()
	if join == nil {
		return nil, status.Error(codes.InvalidArgument, "join: the first message must join a room")
	}
	if err := checkText("join.room", join.GetRoom(), 1, maxRoomName); err != nil {
		return nil, err
	}
	return join, checkText("join.name", join.GetName(), 1, maxMemberName)
}

// chat holds the rooms. A room exists as long as it has members.
type chat struct {
	mu    sync.Mutex
	rooms map[string][]*member // by name, in the order of joining
}

// member is one RPC in a room.
type member struct {
	room, name string
	events     chan *demopb.ChatEvent // only chat.tell sends
	dropped    chan struct{}          // closed by chat.tell when the member is too far behind
}

func newChat() *chat {
	return &chat{rooms: make(map[string][]*member)}
}

// join adds a member to a room and tells everybody there.
func (c *chat) join(room, name string) (*member, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	members := c.rooms[room]
	if len(members) == 0 && len(c.rooms) == maxRooms {
		return nil, status.Errorf(codes.ResourceExhausted, "join.room: there are %d rooms already, which is the limit", maxRooms)
	}
	if len(members) == maxMembers {
		return nil, status.Errorf(codes.ResourceExhausted, "join.room: %q has %d members already, which is the limit", room, maxMembers)
	}
	m := &member{
		room:    room,
		name:    freeName(members, name),
		events:  make(chan *demopb.ChatEvent, maxBehind),
		dropped: make(chan struct{}),
	}
	c.rooms[room] = append(members, m)
	names := c.names(room)
	c.tell([]*member{m}, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_WELCOME, Name: m.name, Members: names})
	c.tell(members, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_JOINED, Name: m.name, Members: names})
	return m, nil
}

// leave takes a member out of its room, if it is there, and tells the others.
func (c *chat) leave(m *member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(m)
}

// say tells what m said to its whole room, m included.
func (c *chat) say(m *member, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell(c.rooms[m.room], &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_SAID, Name: m.name, Text: text})
}

// remove does leave's work and reports whether m was there; c.mu is held.
func (c *chat) remove(m *member) bool {
	i := slices.Index(c.rooms[m.room], m)
	if i < 0 {
		return false
	}
	// A copy: a tell further up may be walking through the old slice.
	rest := slices.Delete(slices.Clone(c.rooms[m.room]), i, i+1)
	if len(rest) == 0 {
		delete(c.rooms, m.room)
		return true
	}
	c.rooms[m.room] = rest
	c.tell(rest, &demopb.ChatEvent{Kind: demopb.ChatEvent_KIND_LEFT, Name: m.name, Members: c.names(m.room)})
	return true
}

// tell queues an event for members and drops those whose queue is full; c.mu is
// held.
func (c *chat) tell(members []*member, event *demopb.ChatEvent) {
	event.TimeMs = time.Now().UnixMilli()
	var slow []*member
	for _, m := range members {
		select {
		case m.events <- event:
		default:
			slow = append(slow, m)
		}
	}
	for _, m := range slow {
		if c.remove(m) {
			close(m.dropped)
		}
	}
}

// names lists the members of a room; c.mu is held.
func (c *chat) names(room string) []string {
	names := make([]string, 0, len(c.rooms[room]))
	for _, m := range c.rooms[room] {
		names = append(names, m.name)
	}
	return names
}

// listen passes on what the member says until it half-closes.
func (c *chat) listen(m *member, stream chatStream) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if in.GetJoin() != nil {
			return status.Errorf(codes.InvalidArgument, "join: already in room %q", m.room)
		}
		if err := checkText("say", in.GetSay(), 1, maxSay); err != nil {
			return err
		}
		c.say(m, in.GetSay())
	}
}

// write sends the member its events until a Send fails or it is dropped.
func (m *member) write(stream chatStream) error {
	for {
		select {
		case event := <-m.events:
			if err := stream.Send(event); err != nil {
				return err
			}
		case <-m.dropped:
			return m.behind()
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// behind is the status of a member that was dropped.
func (m *member) behind() error {
	return status.Errorf(codes.ResourceExhausted, "dropped from room %q: %d events behind, which is the limit", m.room, maxBehind)
}

// freeName is name, with a number behind it if a member has it already.
func freeName(members []*member, name string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(members, func(m *member) bool { return m.name == name })
	}
	free := name
	for n := 2; taken(free); n++ {
		free = name + " " + strconv.Itoa(n)
	}
	return free
}
