"""The page of explore.py: the model's side (snapshot, plane, drawing), the answers, the server, and the pages."""
