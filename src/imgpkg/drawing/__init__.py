"""Pictures of bundles as text: SVG, DOT, and a page of HTML. Nothing here opens a file or a connection."""
