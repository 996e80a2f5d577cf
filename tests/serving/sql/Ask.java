import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

/** What a BI tool does with Arrow's JDBC driver: Ask URL USER PASSWORD. */
public class Ask {
    static void show(String what, ResultSet rows) throws SQLException {
        try (rows) {
            int columns = rows.getMetaData().getColumnCount();
            while (rows.next()) {
                StringBuilder line = new StringBuilder(what);
                for (int at = 1; at <= Math.min(columns, 4); at++) {
                    line.append(' ').append(rows.getString(at));
                }
                System.out.println(line);
            }
        }
    }

    public static void main(String[] given) throws SQLException {
        try (Connection connection = DriverManager.getConnection(given[0], given[1], given[2])) {
            DatabaseMetaData about = connection.getMetaData();
            System.out.println("product " + about.getDatabaseProductName() + " " + about.isReadOnly());
            show("schema", about.getSchemas());
            show("table", about.getTables(null, "%", "%", new String[] {"TABLE"}));
            show("column", about.getColumns(null, "silver", "people", "%"));
            show("row", connection.createStatement().executeQuery(
                "SELECT id, origin, day FROM \"nocturne\".\"silver\".\"people\" WHERE day < '2013-06-02' ORDER BY id"));
            try (PreparedStatement prepared = connection.prepareStatement("SELECT score FROM gold.scores WHERE id = ?")) {
                prepared.setString(1, "3");
                show("prepared", prepared.executeQuery());
            }
            try {
                connection.createStatement().executeUpdate("DELETE FROM gold.scores");
            } catch (SQLException refused) {
                System.out.println("refused " + refused.getMessage());
            }
        }
    }
}
