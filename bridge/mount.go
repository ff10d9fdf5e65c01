package bridge

import "github.com/labstack/echo/v4"

// Mount serves the bridge under its prefix on an Echo. Keep middleware that
// compresses, buffers or times out off these routes: it would break WebSockets
// and held polls.
func (s *Server) Mount(e *echo.Echo) {
	e.Any(s.cfg.Prefix+"/*", echo.WrapHandler(s))
}
