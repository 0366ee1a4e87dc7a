"""From a data frame of ratings to lists, neighbours, vectors and a map.

    python examples/movies.py ratings.csv movies.csv --out films

The files are those of MovieLens: ratings.csv with the columns userId, movieId, rating and
timestamp; movies.csv with movieId, title and genres. Needs pandas and the extras `frames` and
`plot`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from matfac import ImplicitMF, Interactions, plotting
from matfac.embeddings import export, item_vectors, user_vectors


def main() -> None:
    """Fit, look, and write what other programs need."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratings", type=Path)
    parser.add_argument("movies", type=Path)
    parser.add_argument("--out", type=Path, default=Path("films"), help="folder for the results")
    parser.add_argument("--factors", type=int, default=64)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    ratings = pd.read_csv(args.ratings)
    movies = pd.read_csv(args.movies).set_index("movieId")
    titles = movies["title"].to_dict()

    # Who rated what, whatever the rating: what people watch says more than the stars they give.
    watched = Interactions.from_frame(ratings, user="userId", item="movieId", value=None)
    print(watched)
    model = ImplicitMF(args.factors, alpha0=0.3, reg=0.007, random_state=0).fit(watched)
    model.save(args.out / "model.safetensors")

    # Lists of all users as a frame: one row per user and rank.
    users = model.user_ids_
    lists, scores = model.recommend(users, k=10)
    best = pd.DataFrame(
        {
            "userId": users.repeat(10),
            "rank": [*range(1, 11)] * len(users),
            "movieId": lists.ravel(),
            "score": scores.ravel(),
        }
    ).query("score > -inf")
    best["title"] = best["movieId"].map(titles)
    best.to_csv(args.out / "recommendations.csv", index=False)
    print(best.head(10).to_string(index=False))

    # Neighbours of the film that most people have seen.
    favourite = ratings["movieId"].value_counts().index[0]
    near, cosines = model.similar_items([favourite], k=5)
    print(f"\nlike {titles.get(favourite, favourite)}")
    for movie, cosine in zip(near[0], cosines[0], strict=True):
        print(f"  {cosine:.3f}  {titles.get(movie, movie)}")

    # Vectors for a database, and the same order by a plain inner product.
    export(model, args.out / "items.parquet", titles=titles)
    first = user_vectors(model, users[:1]) @ item_vectors(model).T
    print(f"\nhighest inner product, seen or not: {titles.get(model.item_ids_[first.argmax()])}")

    axes = plotting.item_map(model, titles)
    axes.get_figure().savefig(args.out / "map.png", dpi=150)
    print(f"\n{args.out}: model.safetensors, recommendations.csv, items.parquet, map.png")


if __name__ == "__main__":
    main()
