"""`python -m nextomni_edge`."""

from nextomni_edge.cli import main

if __name__ == "__main__":
    main()
