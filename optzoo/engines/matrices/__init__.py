"""Steps of programs that ask for rows, columns or whole matrices."""
