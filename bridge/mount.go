package bridge

import "github.com/labstack/echo/v4"

// Mount serves the bridge under its prefix on e. Middleware that compresses,
// buffers or times out must not cover these routes: it breaks WebSockets and
// held polls.
func (s *Server) Mount(e *echo.Echo) {
	e.Any(s.cfg.Prefix+"/*", echo.WrapHandler(s))
}
